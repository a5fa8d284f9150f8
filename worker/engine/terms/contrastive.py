"""Contrastive representation distillation, with a memory of both networks' embeddings.

Tian, Krishnan & Isola 2020, arXiv:1910.10699. Where the authors draw negatives for each item, one
draw serves the whole batch here, without the rows of an item's own class: the distribution of each
item's negatives is the same, and a product of two matrices takes the place of a gather of
batch x negatives x dimensions numbers.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from stillhouse.errors import InputRejected
from stillhouse.spec import Contrastive
from worker.engine.batch import Batch
from worker.engine.losses import contrastive, directions
from worker.engine.terms import layers, projectors
from worker.engine.terms.features import PairedTerm
from worker.engine.terms.layers import Layer
from worker.engine.terms.setting import Setting


class Memory(nn.Module):
    """One network's embeddings of all rows, as they were when each was last shown."""

    bank: Tensor
    """(rows, dimensions), each of length 1."""
    log_mean: Tensor
    """log Z of the first batch against this memory; NaN before it."""

    def __init__(self, rows: int, dimensions: int) -> None:
        super().__init__()
        self.register_buffer("bank", directions.unit(torch.randn(rows, dimensions), dim=1))
        self.register_buffer("log_mean", torch.tensor(math.nan))
        self._has_begun = False
        self.register_load_state_dict_post_hook(_look_whether_begun)  # type: ignore[no-untyped-call]  # torch leaves it untyped

    def compare(
        self, anchor: Tensor, index: Tensor, drawn: Tensor, allowed: Tensor, *, temperature: float
    ) -> Tensor:
        """The loss of the other network's embeddings against this memory.

        Args:
            anchor: (batch, dimensions), of length 1.
            index: (batch,), the items' rows.
            drawn: (negatives,), the rows to tell them from.
            allowed: (batch, negatives), whether a row is of another class than an item.
            temperature: T, above 0.

        Returns:
            A scalar.
        """
        given = (anchor, self.bank[index], self.bank[drawn])
        if not self._has_begun:
            self.log_mean.copy_(
                contrastive.log_mean(*given, allowed=allowed, temperature=temperature)
            )
            self._has_begun = True
        return contrastive.loss(
            *given, allowed=allowed, temperature=temperature, log_mean=self.log_mean
        )

    @torch.no_grad()
    def remember(self, embeddings: Tensor, index: Tensor, *, momentum: float) -> None:
        """Move rows towards their newest embeddings (batch, dimensions)."""
        moved = momentum * self.bank[index] + (1 - momentum) * embeddings
        self.bank.index_copy_(0, index, directions.unit(moved, dim=1))


class ContrastiveTerm(PairedTerm):
    """Each network's embedding of an item against the other's memory."""

    labels: Tensor

    def __init__(
        self, spec: Contrastive, pair: tuple[Layer, Layer], labels: Tensor, *, draws: int
    ) -> None:
        super().__init__([pair])
        self.spec = spec
        self.draws = draws
        # The data says it; a checkpoint need not.
        self.register_buffer("labels", labels, persistent=False)
        self.embed_student, self.embed_teacher = (
            nn.Linear(layer.channels, spec.dimensions) for layer in pair
        )
        self.of_student, self.of_teacher = (Memory(len(labels), spec.dimensions) for _ in pair)

    def forward(self, batch: Batch) -> Tensor:
        """Both directions' losses, added; the batch is remembered for the next ones."""
        shown, told = self.read(batch)[0]
        student, teacher = _embed(self.embed_student, shown), _embed(self.embed_teacher, told)
        index, labels = batch.shown.index, batch.shown.labels
        drawn = self._draw()
        negative = self.labels[drawn]
        # Of a row without a label nobody knows that it is of another class.
        allowed = (negative >= 0) & (negative != labels.unsqueeze(1))
        losses = [
            memory.compare(anchor, index, drawn, allowed, temperature=self.spec.temperature)
            for anchor, memory in ((student, self.of_teacher), (teacher, self.of_student))
        ]
        self.of_student.remember(student, index, momentum=self.spec.momentum)
        self.of_teacher.remember(teacher, index, momentum=self.spec.momentum)
        return losses[0] + losses[1]

    def _draw(self) -> Tensor:
        rows, device = len(self.labels), self.labels.device
        if self.draws >= rows:
            return torch.arange(rows, device=device)
        return torch.randint(rows, (self.draws,), device=device)


def make(spec: Contrastive, setting: Setting, *, field: str) -> ContrastiveTerm:
    """Contrastive distillation, of the embeddings unless other layers are named.

    Layers that aren't there are refused as in `layers.pair`.

    Args:
        spec: The term.
        setting: The run.
        field: Where the term stands.

    Returns:
        The term's module.

    Raises:
        InputRejected: `needs_two_classes` or `contrastive_with_mixes`.
    """
    if setting.mixes:
        raise InputRejected(
            "contrastive_with_mixes",
            "'contrastive' remembers each row under its class, and a blend of two rows has two; "
            "leave 'mixup' and 'cutmix' out, or take another objective.",
            field=f"{field}.kind",
        )
    labels = setting.labels
    counts = torch.bincount(labels[labels >= 0])
    labelled, largest = int(counts.sum()), int(counts.max())
    if labelled == largest:
        raise InputRejected(
            "needs_two_classes",
            "'contrastive' tells a row from those of other classes, and all rows to train on have "
            "one class; take another objective.",
            field=f"{field}.kind",
        )
    chosen = spec.layer if spec.layer == "auto" else (spec.layer,)
    (found,) = layers.pair(chosen, setting, default="embedding", field=f"{field}.layer")
    # So many that even the largest class is left with `negatives` of other classes.
    draws = math.ceil(spec.negatives * len(labels) / (labelled - largest))
    return ContrastiveTerm(spec, found, labels, draws=draws)


def _embed(embedding: nn.Linear, activation: Tensor) -> Tensor:
    return directions.unit(embedding(projectors.pool(activation)), dim=1)


def _look_whether_begun(memory: nn.Module, _keys: object) -> None:
    if isinstance(memory, Memory):
        memory._has_begun = not bool(memory.log_mean.isnan())  # noqa: SLF001 - its own hook
