"""Start a student from its teacher's weights."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from stillhouse.spec import AnyInput
from stillhouse.spec.student import (
    TeacherInit,
)
from worker.engine.teacher import Teacher
from worker.engine.tie import selection, target


def initialise(
    network: nn.Module,
    teacher: Teacher,
    init: TeacherInit,
    *,
    fed: AnyInput,
    batches: Iterable[Tensor] = (),
    field: str,
) -> None:
    """Overwrite a student's weights with the teacher's, at the ratio's scale.

    `shrink`: every tensor that isn't excluded becomes P theta / lambda (see `selection`,
    `target`). `grow`, the article's literal step "theta_h = lambda theta_L": the teacher is the
    small network, and its tensors times lambda overwrite their places in the student; what lies
    outside them stays as the constructor drew it. What can't be tied is refused as by
    `selection.find`.

    Args:
        network: The student, with its random weights; changed in place.
        teacher: The teacher, with a network.
        init: How.
        fed: The student's input.
        batches: Inputs of the student, from its train part; read where `init.statistics` is
            "estimate" and the student has batch normalisation, and not kept.
        field: Where `init` stands in the job's specification, for the errors.
    """
    grows = init.direction == "grow"
    found = selection.find(
        network,
        teacher,
        fed=fed,
        layers=init.layers,
        exclude=init.exclude,
        direction=init.direction,
        field=field,
    )
    own = network.state_dict()
    for place in found.places:
        if grows:
            values = target.scale(found.teacher[place.small], place, ratio=1 / init.ratio)
            place.put(values, own[place.large])
        else:
            values = place.take(found.teacher[place.large])
            own[place.small].copy_(target.scale(values, place, ratio=init.ratio))
    if init.statistics == "estimate":
        _estimate(network, batches)


def _estimate(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Give batch normalisation the plain average of its statistics over the batches.

    Nothing but batch normalisation is in training mode: no dropout disturbs what it sees, and
    no random number is drawn.
    """
    norms = [m for m in network.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    if not norms:
        return
    modes = [(module, module.training) for module in network.modules()]
    momenta = [norm.momentum for norm in norms]
    network.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    with torch.no_grad():
        for batch in batches:
            network(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    for module, training in modes:
        module.training = training
