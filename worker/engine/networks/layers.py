"""Which layers a network has, and which of them objectives take where none is named."""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from stillhouse.spec import NetworkSpec
from worker.engine.networks.perceptron import Perceptron
from worker.engine.networks.residual import ResidualNetwork


@dataclass(frozen=True, slots=True)
class Layers:
    """A network's layers of note, by module name."""

    stages: tuple[str, ...]
    """From the first to the last; none where they aren't known."""
    embedding: str | None
    """What puts out the features (batch, features) that the head reads; None: not known."""


def names(network: nn.Module) -> list[str]:
    """All modules that can be named, in the network's own order."""
    return [name for name, _ in network.named_modules() if name]


def defaults(network: nn.Module, spec: NetworkSpec) -> Layers:
    """The layers of note of a network of that specification."""
    del spec
    if isinstance(network, ResidualNetwork):
        return Layers(("layer1", "layer2", "layer3"), None)
    if isinstance(network, Perceptron):
        return Layers((), "body")
    return Layers((), None)
