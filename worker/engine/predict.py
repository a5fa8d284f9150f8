"""A network over a part, as it will be used: eval mode, no augmentation, float32."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from worker.engine.data.feed import Feed
from worker.engine.data.parts import Part


def logits(
    network: nn.Module,
    part: Part,
    feed: Feed,
    *,
    batch_size: int,
    device: torch.device,
    each: Callable[[int], None] | None = None,
) -> Tensor:
    """The network's outputs for every row of a part.

    The network is left in eval mode.

    Args:
        network: Already on `device`.
        part: At least one row.
        feed: What the network is fed, on `device`.
        batch_size: Rows in one forward.
        device: Where the network is.
        each: Called after each batch with the rows done so far; it may raise to stop.

    Returns:
        (rows, classes) float32 on the CPU, in row order.
    """
    network.eval()
    source = feed.place(part, device=device)
    outputs: list[Tensor] = []
    with torch.inference_mode():
        for start in range(0, len(part), batch_size):
            stop = min(start + batch_size, len(part))
            outputs.append(network(feed(source.span(start, stop))).float().cpu())
            if each is not None:
                each(stop)
    return torch.cat(outputs)
