"""Where a training run stands: what it needs to go on, and what a checkpoint holds."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from stillhouse.errors import RunFailed
from worker.engine import optimizers
from worker.engine.objective import Objective
from worker.engine.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Epoch:
    """One epoch's end."""

    epoch: int
    """From 0."""
    step: int
    train_accuracy: float
    """Running, over the epoch's augmented batches."""
    validation: dict[str, float]


@dataclass(slots=True)
class State:
    """Where a run stands: all that it needs to go on, and all that a checkpoint holds."""

    network: nn.Module
    objective: Objective
    """With what its terms have learned."""
    optimizer: torch.optim.Optimizer
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


def begin(network: nn.Module, objective: Objective, *, recipe: Recipe) -> State:
    """A run's state before its first step; both are already on their device."""
    optimizer = optimizers.make(recipe.optimizer, network, objective)
    return State(network=network, objective=objective, optimizer=optimizer)


def check_finite(state: State) -> None:
    """Look at all weights; waits for the device.

    Args:
        state: The run's.

    Raises:
        RunFailed: `diverged`.
    """
    tensors = [t for t in state.network.state_dict().values() if t.is_floating_point()]
    if not torch.stack([t.isfinite().all() for t in tensors]).all():
        raise RunFailed("diverged", describe_divergence(state, what="weights"))


def describe_divergence(state: State, *, what: str) -> str:
    """What the user is told when the `what` of a run is no longer finite."""
    return (
        f"The {what} stopped being finite at step {state.step + 1}, epoch {state.epoch}; "
        "lower training.optimizer.lr, or set training.clip_norm."
    )
