"""Layers by name: found, or refused with the names there are, and read in one form.

An activation is read as (batch, channels, *positions) in float32, whatever order and precision
its network has it in.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from stillhouse.errors import InputRejected
from stillhouse.spec import LayerPair, SequenceInput, TextInput
from worker.engine import features
from worker.engine.losses import precision
from worker.engine.networks import layers as known
from worker.engine.terms.setting import Setting, Side

_MAX_ALLOWED = 100
Default = Literal["embedding", "middle", "last", "stages"]
"""Which layers "auto" stands for: the pooled features before the head, the stage in the middle,
the last stage, or all stages that both networks have, counted from the last."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer of one network."""

    name: str
    shape: tuple[int, ...]
    """Of one item: (channels, *positions)."""
    last: bool
    """Whether its network has the channels in the last axis."""

    @property
    def channels(self) -> int:
        """The activation's width."""
        return self.shape[0]

    def read(self, found: Mapping[str, Tensor]) -> Tensor:
        """Its activation (batch, channels, *positions), in float32 at least."""
        tensor = found[self.name]
        return precision.widen(tensor.movedim(-1, 1) if self.last else tensor)


def pair(
    chosen: tuple[LayerPair, ...] | Literal["auto"],
    setting: Setting,
    *,
    default: Default,
    field: str,
) -> list[tuple[Layer, Layer]]:
    """The student's layers and the teacher's that they are held against.

    Names that aren't there are refused as `layer_unknown`, what can't be compared as
    `layer_not_a_tensor`.

    Args:
        chosen: By the user, or "auto".
        setting: The run; its teacher is known by its weights.
        default: What "auto" stands for.
        field: Where the term names its layers.

    Returns:
        As many pairs as were chosen, in that order; measured.

    Raises:
        ValueError: There is no such teacher.
    """
    if setting.teacher is None:
        raise ValueError("layers are paired with a teacher's")
    student, loaded = setting.student, setting.teacher
    teacher = Side(loaded.body, loaded.spec, loaded.input)
    pairs = chosen
    if pairs == "auto":
        pairs = _choose(student, teacher, default=default, field=field)
    own = _measure(student, [one.student for one in pairs], whose="student", field=field)
    other = _measure(teacher, [one.teacher for one in pairs], whose="teacher", field=field)
    return [(own[one.student], other[one.teacher]) for one in pairs]


def _choose(student: Side, teacher: Side, *, default: Default, field: str) -> tuple[LayerPair, ...]:
    sides = [known.defaults(side.network, side.spec) for side in (student, teacher)]
    stages = [side.stages for side in sides]
    # Tokens of two tokenizers share no positions, and those beyond a text's end say nothing.
    has_positions = not isinstance(student.input, TextInput)
    if default != "embedding" and all(stages) and has_positions:
        if default == "middle":
            picked = [[names[len(names) // 2]] for names in stages]
        else:
            count = 1 if default == "last" else min(len(names) for names in stages)
            picked = [list(names[-count:]) for names in stages]
        return tuple(LayerPair(student=s, teacher=t) for s, t in zip(*picked, strict=True))
    first, second = (
        _embedding(side, found, whose=whose, field=field)
        for side, found, whose in zip(
            (student, teacher), sides, ("student", "teacher"), strict=True
        )
    )
    return (LayerPair(student=first, teacher=second),)


def _embedding(side: Side, found: known.Layers, *, whose: str, field: str) -> str:
    """Where no pooled features are known, the last stage's map has them unpooled."""
    names = [found.embedding, *reversed(found.stages)]
    name = next((name for name in names if name is not None), None)
    if name is None:
        raise InputRejected(
            "layer_unknown",
            f"It isn't known which layer of the {whose} '{side.spec.name}' to take; name one.",
            field=field,
            allowed=known.names(side.network)[:_MAX_ALLOWED],
        )
    return name


def _measure(side: Side, names: list[str], *, whose: str, field: str) -> dict[str, Layer]:
    there = known.names(side.network)
    for name in names:
        if name not in there:
            close = difflib.get_close_matches(name, there, n=20, cutoff=0.4)
            rest = [other for other in there if other not in close]
            raise InputRejected(
                "layer_unknown",
                f"The {whose} '{side.spec.name}' has no layer '{name}'"
                + (f"; did you mean '{close[0]}'?" if close else "; 'allowed' lists those it has."),
                field=field,
                allowed=[*close, *rest][:_MAX_ALLOWED],
            )
    found = features.measure(side.network, names, side.example())
    return {
        name: _describe(found.get(name), name, side, whose=whose, field=field) for name in names
    }


def _describe(output: object, name: str, side: Side, *, whose: str, field: str) -> Layer:
    if not (isinstance(output, Tensor) and output.is_floating_point() and 2 <= output.ndim <= 4):
        raise InputRejected(
            "layer_not_a_tensor",
            f"The {whose}'s layer '{name}' doesn't put out a tensor (items, channels, positions) "
            f"but {_kind(output)}; name a layer inside or around it.",
            field=field,
        )
    last = _has_channels_last(side, output)
    shape = (output.movedim(-1, 1) if last else output).shape
    return Layer(name, tuple(shape[1:]), last)


def _has_channels_last(side: Side, output: Tensor) -> bool:
    """Tokens (batch, tokens, channels), and the maps of networks that say so."""
    if output.ndim == 3:
        series = isinstance(side.input, SequenceInput) and any(
            isinstance(module, nn.Conv1d) for module in side.network.modules()
        )
        return not series
    # timm's own attribute for maps (batch, height, width, channels), as those of Swin.
    return output.ndim == 4 and str(getattr(side.network, "output_fmt", "")) == "NHWC"


def _kind(output: object) -> str:
    if output is None:
        return "nothing: the network doesn't run it"
    if isinstance(output, torch.Tensor):
        return f"{output.dtype} of shape {tuple(output.shape)}".removeprefix("torch.")
    return type(output).__name__
