"""Networks of transformers, by the model types of its configurations."""

from __future__ import annotations

from torch import nn

from stillhouse.errors import InputRejected
from stillhouse.spec import AnyInput, NetworkSpec


def construct(spec: NetworkSpec, *, classes: int, fed: AnyInput, field: str) -> nn.Module:
    """Refuse every network; raises `InputRejected` (`unknown_network`)."""
    raise InputRejected(
        "unknown_network",
        f"There is no network '{spec.name}' for {classes} classes and {fed.modality} data yet.",
        field=f"{field}.name",
    )
