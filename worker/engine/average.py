"""An exponential moving average of a network's parameters, in their place for a while."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from stillhouse.spec import Ema
from worker.engine.state import State


def update(state: State, ema: Ema) -> None:
    """Take a step's parameters in: average <- d * average + (1 - d) * parameter.

    The decay d is min(decay, (1 + step) / (10 + step)) with the step counted from 0, so that the
    random beginning is soon forgotten.
    """
    decay = min(ema.decay, (1 + state.step) / (10 + state.step))
    with torch.no_grad():
        torch._foreach_lerp_(  # one kernel for all, as in torch.optim
            list(state.averages.values()), list(state.network.parameters()), 1 - decay
        )


@contextmanager
def in_place(state: State) -> Iterator[None]:
    """The network with the averages as its parameters, if there are any; its buffers stay."""
    _swap(state)
    try:
        yield
    finally:
        _swap(state)


def _swap(state: State) -> None:
    parameters = dict(state.network.named_parameters())
    for name, average in state.averages.items():
        parameter = parameters[name]
        parameter.data, average.data = average.data, parameter.data
