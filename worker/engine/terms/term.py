"""What every term of an objective is."""

from __future__ import annotations

from torch import Tensor, nn

from worker.engine.batch import Batch


class Term(nn.Module):
    """A scalar function of a batch, without the term's weight.

    What it learns itself (projectors, embeddings) are its parameters, what it remembers (a memory
    bank) its buffers; neither is part of what is served.
    """

    student_layers: tuple[str, ...] = ()
    """The student's activations that it reads from `Batch.features`."""
    teacher_layers: tuple[str, ...] = ()
    """The first teacher's that it reads from `Told.features`."""

    min_items: int = 1
    """In a smaller batch the term counts nothing: batch normalisation needs two items."""

    def forward(self, batch: Batch) -> Tensor:
        """The term's value for a batch."""
        raise NotImplementedError
