"""Activations of named layers, read by hooks without changing a network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor, nn


@contextmanager
def capture(network: nn.Module, layers: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Fill a dictionary with what layers put out, for the forwards inside.

    Args:
        network: The network.
        layers: Names of its modules (`nn.Module.get_submodule`).

    Yields:
        dict[str, Tensor]: Layer -> output of the latest forward, with its graph.
    """
    seen: dict[str, Tensor] = {}

    def keep(name: str) -> object:
        def hook(_module: nn.Module, _given: object, output: Tensor) -> None:
            seen[name] = output

        return network.get_submodule(name).register_forward_hook(hook)

    handles = [keep(name) for name in layers]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()  # type: ignore[attr-defined]  # torch.utils.hooks.RemovableHandle
