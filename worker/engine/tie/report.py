"""What a finished student's weights have to do with its teacher's."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from stillhouse.errors import InputRejected
from stillhouse.spec import AnyInput
from stillhouse.spec.objective import LayersChoice, ParameterRatio
from worker.engine.teacher import Teacher
from worker.engine.tie import pull

PULL_FROM_RANDOM = (
    "The student starts at random weights and is pulled towards the teacher's. Independently "
    "trained networks differ by a permutation of their channels, so the pull has little to do "
    "with what its channels have come to mean; start it with init 'from_teacher'."
)
"""The detail of the warning `pull_from_random`: `parameter_ratio` meets a random start."""


def measure(
    student: nn.Module,
    teacher: Teacher,
    *,
    fed: AnyInput,
    layers: LayersChoice = "first",
    exclude: Iterable[str] = (),
) -> dict[str, float | None] | None:
    """The ratio that fits two sets of weights best, and how well it does.

    With s the student's tied parameters and t the teacher's selected ones, lambda is
    <t, s> / |s|^2, the least-squares fit of t = lambda s, and the cosine <t, s> / (|t| |s|).
    Summed in float64.

    Args:
        student: The trained student.
        teacher: Its teacher, with a network.
        fed: The student's input.
        layers: As the student was tied.
        exclude: As the student was tied.

    Returns:
        `lambda` and `cosine`, each null where a side is all zeros; None where the two networks
        have no common selection.
    """
    spec = ParameterRatio(kind="parameter_ratio", ratio=1.0, layers=layers, exclude=tuple(exclude))
    try:
        selected = pull.targets(spec, student, teacher, fed=fed, field="")
    except InputRejected:
        return None
    if not selected:
        return None
    own = dict(student.named_parameters())
    pairs = [(own[name].detach(), value) for name, value in selected.items()]
    product = _sum(pairs)
    mine, theirs = _sum((s, s) for s, _ in pairs), _sum((t, t) for _, t in pairs)
    return {
        "lambda": product / mine if mine else None,
        "cosine": product / math.sqrt(mine * theirs) if mine and theirs else None,
    }


def _sum(pairs: Iterable[tuple[Tensor, Tensor]]) -> float:
    return sum(torch.dot(a.double().flatten(), b.double().flatten()).item() for a, b in pairs)
