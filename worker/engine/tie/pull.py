"""The term `parameter_ratio`: a pull towards the teacher's weights at the student's scale."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from stillhouse.errors import InputRejected
from stillhouse.spec import AnyInput
from stillhouse.spec.objective import ParameterRatio
from worker.engine.batch import Batch
from worker.engine.losses import parameter_ratio
from worker.engine.teacher import Teacher
from worker.engine.tie import selection, target


class Pull(nn.Module):
    """Half the sum of squared differences between a network's weights and their targets.

    With lambda = 1 it is L2-SP (Li, Grandvalet & Davoine 2018, arXiv:1802.01483); with lambda to
    infinity the targets vanish and it is weight decay. A sum, never a mean: its gradient on each
    weight is the weight's own difference, whatever the network's size.
    """

    target: Tensor

    def __init__(self, targets: dict[str, Tensor]) -> None:
        super().__init__()
        self.names = tuple(targets)
        # One vector costs one kernel for all tensors. It follows from the teacher, so no
        # checkpoint needs it.
        self.register_buffer("target", _join(targets.values()), persistent=False)

    def forward(self, batch: Batch) -> Tensor:
        """The penalty without its weight, a scalar."""
        weights = _join(batch.network.get_parameter(name) for name in self.names)
        return parameter_ratio.penalty([weights], [self.target])


def _join(tensors: Iterable[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])


def term(
    spec: ParameterRatio, student: nn.Module, teacher: Teacher, *, fed: AnyInput, field: str
) -> Pull:
    """Make the pull of a student to its teacher; refused as by `selection.find`, too.

    Weights and biases of linear layers, convolutions and embeddings are pulled; the affine
    parameters of a normalisation, whose scale the ratio doesn't concern, are left free.

    Args:
        spec: The term.
        student: The student's network, on its device.
        teacher: The teacher, with a network.
        fed: The student's input.
        field: Where the term stands in the job's specification.

    Returns:
        The pull, its targets on the student's device.

    Raises:
        InputRejected: `nothing_tied`: every tensor is excluded.
    """
    found = targets(spec, student, teacher, fed=fed, field=field)
    if not found:
        raise InputRejected(
            "nothing_tied",
            "'exclude' leaves none of the student's weights to pull; name fewer tensors, or drop "
            "the term.",
            field=f"{field}.exclude",
        )
    return Pull(found)


def targets(
    spec: ParameterRatio, student: nn.Module, teacher: Teacher, *, fed: AnyInput, field: str
) -> dict[str, Tensor]:
    """The tied parameters' names and where they are pulled, each shared parameter once."""
    found = selection.find(
        student, teacher, fed=fed, layers=spec.layers, exclude=spec.exclude, field=field
    )
    own = dict(student.named_parameters())
    return {
        place.small: target.scale(
            place.take(found.teacher[place.large]), place, ratio=spec.ratio
        ).to(own[place.small], copy=True)
        for place in found.places
        if place.kind == "linear" and place.small in own
    }
