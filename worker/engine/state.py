"""Where a training run stands: all that it needs to go on, and all that a checkpoint holds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from worker.engine import optimizers
from worker.engine.objective import Objective
from worker.engine.recipe import Recipe

MAX_HALVINGS = 8
MAX_ROLLBACKS = 2


@dataclass(frozen=True, slots=True)
class Epoch:
    """One epoch's end."""

    epoch: int
    """From 0."""
    step: int
    train_accuracy: float
    """Running, over the epoch's augmented batches; of blended items the larger one's label."""
    validation: dict[str, float]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A copy of a state (see `snapshot`); nothing in it changes when the run goes on."""

    tensors: dict[str, Tensor]
    """On the CPU."""
    position: dict[str, float]
    """The state's counters."""
    history: tuple[Epoch, ...]


@dataclass(slots=True)
class State:
    """Where a run stands: all that it needs to go on, and all that a checkpoint holds."""

    network: nn.Module
    objective: Objective
    """With what its terms have learned."""
    optimizer: torch.optim.Optimizer
    averages: dict[str, Tensor] = field(default_factory=dict)
    """Parameter -> its moving average, where the recipe asks for one."""
    hold: Callable[[nn.Module], None] | None = None
    """Puts back what no step may move."""
    epoch: int = 0
    """The epoch under way."""
    batch: int = 0
    """Batches done of it."""
    step: int = 0
    correct: int | Tensor = 0
    """Items of this epoch that were classified rightly when they were shown."""
    seen: int = 0
    """Items of this epoch that were shown."""
    history: list[Epoch] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    best_epoch: int = -1
    train_seconds: float = 0.0
    halvings: int = 0
    """How often memory was short, and the micro-batch was halved."""
    rollbacks: int = 0
    """How often the run went back to `good`; each time the learning rate is halved."""
    good: Snapshot | None = None
    """Where it goes back to: the epoch's start, or a later checkpoint. In no checkpoint itself."""
    is_suspect: bool = False
    """Set by whoever reads a loss of this run that isn't finite."""


class NotFiniteError(Exception):
    """A loss, or a weight, is infinite or not a number."""


def begin(network: nn.Module, objective: Objective, *, recipe: Recipe) -> State:
    """A run's state before its first step; both are already on their device."""
    averages: dict[str, Tensor] = {}
    if recipe.ema is not None:
        averages = {name: p.detach().clone() for name, p in network.named_parameters()}
    return State(
        network=network,
        objective=objective,
        optimizer=optimizers.make(recipe.optimizer, network, objective),
        averages=averages,
    )


def check_finite(state: State) -> None:
    """Look at all weights; waits for the device.

    Args:
        state: The run's.

    Raises:
        NotFiniteError: One of them isn't.
    """
    tensors = [t for t in state.network.state_dict().values() if t.is_floating_point()]
    if not torch.stack([t.isfinite().all() for t in tensors]).all():
        raise NotFiniteError("weights")
