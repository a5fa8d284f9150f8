"""Which layers a network has, and which of them objectives take where none is named."""

from __future__ import annotations

import re
from dataclasses import dataclass

from torch import nn

from stillhouse.spec import NetworkSpec
from worker.engine.networks.convolutional import ConvolutionalNetwork
from worker.engine.networks.perceptron import Perceptron
from worker.engine.networks.residual import ResidualNetwork
from worker.engine.networks.table import TabularTransformer
from worker.engine.networks.vgg import VggNetwork
from worker.engine.networks.wide import WideNetwork


@dataclass(frozen=True, slots=True)
class Layers:
    """A network's layers of note, by module name."""

    stages: tuple[str, ...]
    """From the first to the last; none where they aren't known."""
    embedding: str | None
    """What puts out the features (batch, features) that the head reads; None: not known."""


_BUILTIN: tuple[tuple[type[nn.Module], Layers], ...] = (
    (ResidualNetwork, Layers(("layer1", "layer2", "layer3"), "pool")),
    (WideNetwork, Layers(("block1", "block2", "block3"), "pool")),
    (VggNetwork, Layers(("block1", "block2", "block3", "block4"), "pool")),
    (ConvolutionalNetwork, Layers(("layer1", "layer2", "layer3"), "pool")),
    (Perceptron, Layers((), "body")),
    (TabularTransformer, Layers((), "norm")),
)


def names(network: nn.Module) -> list[str]:
    """All modules that can be named, in the network's own order."""
    return [name for name, _ in network.named_modules() if name]


def defaults(network: nn.Module, spec: NetworkSpec) -> Layers:
    """The layers of note of a network of that specification."""
    for kind, layers in _BUILTIN:
        if isinstance(network, kind):
            return layers
    return _of_timm(network) if spec.family == "timm" else _of_transformers(network)


def _of_timm(network: nn.Module) -> Layers:
    """Timm says its stages itself; what reads the features is found by the head's name."""
    known = set(names(network))
    stages = [str(info["module"]) for info in getattr(network, "feature_info", [])]
    # The first one is often the stem, at the size of the second.
    deep = tuple(stage for stage in stages if stage in known)[-4:]
    # Some heads flatten what they put out, after the classifier: there it does nothing.
    known -= {name for name in known if _is_idle_flatten(network, name)}
    return Layers(deep, next((name for name in _TIMM_EMBEDDINGS if name in known), None))


def _is_idle_flatten(network: nn.Module, name: str) -> bool:
    return name.endswith("flatten") and isinstance(network.get_submodule(name), nn.Identity)


_TIMM_EMBEDDINGS = ("head.flatten", "flatten", "head.global_pool", "global_pool", "fc_norm")
"""What puts out (batch, features), the most exact name first."""
_ENCODER_LAYER = re.compile(r"(?:^|\.)layers?\.\d+$")
_TRANSFORMERS_EMBEDDINGS = ("pre_classifier", "classifier.dropout", "drop", "dropout")


def _of_transformers(network: nn.Module) -> Layers:
    known = names(network)
    stages = tuple(name for name in known if _ENCODER_LAYER.search(name))
    pooled = next((name for name in known if name.endswith("pooler")), None)
    found = pooled or next((name for name in _TRANSFORMERS_EMBEDDINGS if name in known), None)
    return Layers(stages, found)
