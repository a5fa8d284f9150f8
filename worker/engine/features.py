"""Activations of named layers, read by hooks without changing a network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def capture(network: nn.Module, layers: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Fill a dictionary with what layers put out, for the forwards inside.

    Args:
        network: The network.
        layers: Names of its modules (`nn.Module.get_submodule`).

    Yields:
        dict[str, Tensor]: Layer -> output of the latest forward, with its graph; of a layer that
            puts out a tuple, the first of it. Whoever drops the dictionary drops the activations.
    """
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> torch.utils.hooks.RemovableHandle:
        def hook(_module: nn.Module, _given: object, output: Tensor | tuple[Tensor, ...]) -> None:
            seen[name] = output[0] if isinstance(output, tuple) else output

        return network.get_submodule(name).register_forward_hook(hook)

    handles = [keep(name) for name in layers]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def measure(network: nn.Module, layers: Sequence[str], example: Tensor) -> dict[str, Tensor]:
    """What layers put out for an example, in eval mode; the network's mode is kept.

    Args:
        network: The network.
        layers: Names of its modules.
        example: Its input, (items, …).

    Returns:
        Layer -> output without a graph; a layer that isn't run is missing. What isn't a tensor
        comes as it is.
    """
    mode = network.training
    with torch.no_grad(), capture(network.eval(), layers) as seen:
        network(example)
    network.train(mode)
    return dict(seen)
