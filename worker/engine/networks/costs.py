"""What a network costs, in parameters and multiply-accumulates."""

from __future__ import annotations

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from stillhouse.spec import AnyInput
from worker.engine.data import feed


def measure(network: nn.Module, fed: AnyInput) -> tuple[int, int]:
    """Count a network's parameters and the multiply-accumulates of one item in eval mode.

    Args:
        network: On any device; its mode is kept.
        fed: Its input.

    Returns:
        Parameters (a shared one counts once), multiply-accumulates.
    """
    parameters = sum(parameter.numel() for parameter in network.parameters())
    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    training = network.training
    network.eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(feed.example(fed, 1, device=device))
    network.train(training)
    # The counter takes a multiplication and an addition for two operations.
    return parameters, counter.get_total_flops() // 2
