"""Our own networks, by name."""

from __future__ import annotations

import difflib
import math
from typing import Annotated, TypeVar

from pydantic import Field, ValidationError
from torch import nn

from stillhouse.errors import InputRejected
from stillhouse.spec import AnyInput, Frozen, InputSpec, NetworkSpec
from worker.engine.networks import options
from worker.engine.networks.perceptron import Perceptron
from worker.engine.networks.residual import SHAPES, ResidualNetwork

_PERCEPTRON = "mlp"
_Options = TypeVar("_Options", bound=Frozen)


class _NoOptions(Frozen):
    """The residual networks are what their names say."""


class _PerceptronOptions(Frozen):
    hidden: Annotated[tuple[Annotated[int, Field(ge=1, le=65_536)], ...], Field(max_length=32)] = (
        256,
        256,
    )
    """Widths of the hidden layers; none makes it linear."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0


def names() -> list[str]:
    """The networks that are ours."""
    return [*SHAPES, _PERCEPTRON]


def construct(spec: NetworkSpec, *, classes: int, fed: AnyInput, field: str) -> nn.Module:
    """Make the network.

    Args:
        spec: The network.
        classes: Outputs.
        fed: What it is fed.
        field: Where the specification stands in what the user sent.

    Returns:
        The network.

    Raises:
        InputRejected: `unknown_network`, `network_option_refused` or `modality_differs`.
    """
    if not isinstance(fed, InputSpec):
        raise options.other_modality(spec, fed, takes="image", field=field)
    channels, size = fed.channel_count, fed.size
    if spec.name == _PERCEPTRON:
        chosen = _read(_PerceptronOptions, spec, field=field)
        return Perceptron(
            inputs=channels * math.prod(size),
            hidden=chosen.hidden,
            classes=classes,
            dropout=chosen.dropout,
        )
    if spec.name in SHAPES:
        _read(_NoOptions, spec, field=field)
        depth, widths = SHAPES[spec.name]
        return ResidualNetwork(depth, widths, classes=classes, channels=channels)
    raise InputRejected(
        "unknown_network",
        f"There is no builtin network '{spec.name}'; there are {', '.join(names())}.",
        field=f"{field}.name",
        allowed=difflib.get_close_matches(spec.name, names(), n=5) or names(),
    )


def _read(kind: type[_Options], spec: NetworkSpec, *, field: str) -> _Options:
    try:
        return kind.model_validate(options.rest(spec))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise InputRejected(
            "network_option_refused",
            f"The option '{name}' of '{spec.name}': {first['msg']}.",
            field=f"{field}.options.{name}",
        ) from error
