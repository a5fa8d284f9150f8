"""The selection P: where each tensor of a small network lies in a larger one of its kind.

Along each axis the small network's block i of m is the large one's floor(i n / m) of n, as in
the uniform element selection of Xu et al. 2023, arXiv:2311.18823. Because the rule depends on m
and n alone, all that shares a channel space shares its index set: the layer that makes the
channels, its normalisation, a residual stream that joins several of them, and the layers that
read them. Where an axis is made of blocks (attention heads inside a projection, positions behind
a flatten) the rule holds for the blocks, and again inside them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from stillhouse.spec import AnyInput
from stillhouse.spec.objective import LayersChoice
from worker.engine.data import feed
from worker.engine.teacher import InClassOrder, Teacher
from worker.engine.tie import layout, pairing, refusals
from worker.engine.tie.layout import Axis, Form, Kind, Layout
from worker.engine.tie.refusals import Direction


@dataclass(frozen=True, slots=True)
class Place:
    """Where a tensor of the small network lies in the large one."""

    small: str
    large: str
    kind: Kind
    index: tuple[Tensor | None, ...]
    """For each axis the large tensor's positions, ascending; None is all of them, in order."""

    def take(self, large: Tensor) -> Tensor:
        """The large tensor's part, shaped as the small one."""
        for axis, index in enumerate(self.index):
            if index is not None:
                large = large.index_select(axis, index.to(large.device))
        return large

    def put(self, small: Tensor, large: Tensor) -> None:
        """Overwrite that part of the large tensor, in place."""
        grid = []
        for axis, index in enumerate(self.index):
            positions = torch.arange(large.shape[axis]) if index is None else index
            shape = [1] * large.dim()
            shape[axis] = -1
            grid.append(positions.to(large.device).view(shape))
        large[tuple(grid)] = small.to(large)


@dataclass(frozen=True, slots=True)
class Selection:
    """Every pair of tensors, and the teacher's values."""

    places: tuple[Place, ...]
    teacher: Mapping[str, Tensor]
    """The teacher's tensors by name, with the dataset's classes in their order."""


def find(
    student: nn.Module,
    teacher: Teacher,
    *,
    fed: AnyInput,
    layers: LayersChoice,
    exclude: Iterable[str] = (),
    direction: Direction = "shrink",
    field: str,
) -> Selection:
    """Select the teacher's weights for a student, or (`grow`) a student's places for them.

    Refused as `InputRejected`: `inputs_differ`; `tensor_without_counterpart`, with up to 20 names;
    `student_wider` or `student_narrower`, when the direction is the other one;
    `selection_not_supported`, when heads or groups can't be told apart.

    Args:
        student: The student's network.
        teacher: The teacher, with a network.
        fed: The student's input.
        layers: Which blocks of a deeper network stand for those of the other.
        exclude: Shell patterns of student tensors that are left out.
        direction: Which of the two is the small network: the student in `shrink`.
        field: Where the tie stands in the job's specification, for the errors.

    Returns:
        The selection.
    """
    refusals.check_inputs(fed, teacher.input, field=field)
    mine = layout.read(student, feed.example(fed, 2, device=_device(student)))
    network, theirs, values = _read_teacher(teacher, field=field)
    shrinks = direction == "shrink"
    small, large = (mine, theirs) if shrinks else (theirs, mine)
    names = (student, network) if shrinks else (network, student)
    modules = pairing.pair(*names, layers=layers)
    refusals.check_blocks(small, large, modules, field=field)
    pairs = {name: _counterpart(name, modules) for name in small.forms}
    patterns = tuple(exclude)
    kept = {
        name: other
        for name, other in pairs.items()
        if not _matches(name if shrinks else other or name, patterns)
    }
    places, alone, wider = _place_all(kept, small, large)
    if wider:
        refusals.wrong_direction(wider, direction, field=field)
    if alone:
        refusals.without_counterpart(alone, direction, field=field)
    return Selection(tuple(places), values)


def index(small: Axis, large: Axis) -> Tensor:
    """The positions of a large axis that stand for a small one's.

    Args:
        small: The small axis, as nested blocks.
        large: The large axis, in as many levels, each as long or longer.

    Returns:
        (product of `small`,) int64, ascending, without repetition.
    """
    positions = torch.zeros(1, dtype=torch.int64)
    for m, n in zip(small, large, strict=True):
        chosen = torch.arange(m) * n // m
        positions = (positions[:, None] * n + chosen).flatten()
    return positions


def _place_all(
    pairs: Mapping[str, str | None], small: Layout, large: Layout
) -> tuple[list[Place], list[str], list[str]]:
    """The pairs' places, the names that have no counterpart, and those that are larger."""
    places: list[Place] = []
    alone: list[str] = []
    wider: list[str] = []
    for name, other in pairs.items():
        mine, theirs = small.forms[name], large.forms.get(other or "")
        if theirs is None or not _is_alike(mine, theirs):
            alone.append(name)
        elif _is_wider(mine, theirs):
            wider.append(name)
        else:
            axes = zip(mine.axes, theirs.axes, strict=True)
            chosen = tuple(None if a == b else index(a, b) for a, b in axes)
            places.append(Place(name, other or "", mine.kind, chosen))
    return places, alone, wider


def _is_alike(mine: Form, theirs: Form) -> bool:
    """Whether the two can be compared: the same sort of tensor, equal where not channels."""
    if mine.kind != theirs.kind or len(mine.axes) != len(theirs.axes):
        return False
    if mine.positions != theirs.positions:
        return False
    for axis, (a, b) in enumerate(zip(mine.axes, theirs.axes, strict=True)):
        if len(a) != len(b) or (axis not in mine.free | theirs.free and a != b):
            return False
    return True


def _is_wider(mine: Form, theirs: Form) -> bool:
    return any(
        m > n
        for a, b in zip(mine.axes, theirs.axes, strict=True)
        for m, n in zip(a, b, strict=True)
    )


def _counterpart(name: str, modules: Mapping[str, str | None]) -> str | None:
    module, _, own = name.rpartition(".")
    other = modules[module]
    if other is None:
        return None
    return f"{other}.{own}" if other else own


def _read_teacher(teacher: Teacher, *, field: str) -> tuple[nn.Module, Layout, dict[str, Tensor]]:
    network = teacher.network
    order: Tensor | None = None
    if isinstance(network, InClassOrder):
        order = network.order
        network = network.network
    found = layout.read(network, feed.example(teacher.input, 2, device=_device(network)))
    values = {name: value.detach() for name, value in network.state_dict().items()}
    if order is None:
        return network, found, values
    if not found.outputs:
        raise refusals.unknown_outputs(field=field)
    forms = dict(found.forms)
    for name in found.outputs:
        values[name] = values[name][order]
        form = forms[name]
        forms[name] = replace(form, axes=((len(order),), *form.axes[1:]))
    return network, Layout(forms, found.outputs, found.unread, found.groups), values


def _device(network: nn.Module) -> torch.device:
    return next(network.parameters()).device


def _matches(name: str, patterns: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)
