"""A network from its specification, or the reason why there can't be one."""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

import torch
from torch import nn

from stillhouse.errors import InputRejected
from stillhouse.spec import AnyInput, NetworkSpec
from worker.engine.data import feed
from worker.engine.networks import builtin, options, timm_family, transformers_family

MAX_PARAMETERS = 2_000_000_000
"""8 GB of weights in float32; more would end the process before it could say why."""


def names() -> list[tuple[str, str]]:
    """Every (family, name) that can be built."""
    return [
        *(("builtin", name) for name in builtin.names()),
        *(("timm", name) for name in timm_family.names()),
        *(("transformers", name) for name in transformers_family.names()),
    ]


def build(
    spec: NetworkSpec,
    *,
    classes: int,
    fed: AnyInput,
    field: str = "network",
) -> nn.Module:
    """Build a network on the CPU, with weights from torch's current seed.

    What doesn't fit is refused as `InputRejected`: `unknown_network`, `class_count_differs`,
    `channels_differ`, `network_option_refused` or `network_not_buildable`.

    Args:
        spec: Family, name and options; the options may repeat `num_classes` and `in_chans`.
        classes: Outputs.
        fed: What it is fed.
        field: Where the specification stands in what the user sent, for the errors.

    Returns:
        The network in training mode, known to map two items to (2, classes).
    """
    options.check(spec, classes=classes, fed=fed, field=field)

    def construct() -> nn.Module:
        match spec.family:
            case "builtin":
                return builtin.construct(spec, classes=classes, fed=fed, field=field)
            case "timm":
                return timm_family.construct(spec, classes=classes, fed=fed, field=field)
            case "transformers":
                return transformers_family.construct(spec, classes=classes, fed=fed, field=field)
            case _:
                assert_never(spec.family)

    _check_parameters(construct, spec, field=field)
    network = _attempt(construct, spec, field=field)
    _check_outputs(network, spec, fed=fed, classes=classes, field=field)
    return network


def _check_parameters(construct: Callable[[], nn.Module], spec: NetworkSpec, *, field: str) -> None:
    """Count parameters where they take no memory."""
    with torch.device("meta"):
        parameters = sum(p.numel() for p in _attempt(construct, spec, field=field).parameters())
    if parameters > MAX_PARAMETERS:
        raise _not_buildable(
            spec, f"it has {parameters:,} parameters, more than {MAX_PARAMETERS:,}", field=field
        )


def _attempt(construct: Callable[[], nn.Module], spec: NetworkSpec, *, field: str) -> nn.Module:
    try:
        return construct()
    except InputRejected:
        raise
    except Exception as error:  # A constructor may raise anything on options that it dislikes.
        raise _not_buildable(spec, _reason(error), field=field) from error


def _check_outputs(
    network: nn.Module,
    spec: NetworkSpec,
    *,
    fed: AnyInput,
    classes: int,
    field: str,
) -> None:
    network.eval()
    example = feed.example(fed, 2)
    try:
        with torch.no_grad():
            output = network(example)
    except Exception as error:  # As above: a forward may raise anything on a size it dislikes.
        raise _not_buildable(
            spec, f"on {tuple(example.shape[1:])}: {_reason(error)}", field=field
        ) from error
    found = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
    if found != (2, classes):
        raise _not_buildable(spec, f"two items give {found} instead of {(2, classes)}", field=field)
    network.train()


def _not_buildable(spec: NetworkSpec, reason: str, *, field: str) -> InputRejected:
    return InputRejected(
        "network_not_buildable",
        f"'{spec.name}' can't be built here: {reason}. Change its options or its input.",
        field=field,
    )


def _reason(error: Exception) -> str:
    text = str(error).partition("\n")[0].rstrip(".")[:300]
    return text or type(error).__name__
