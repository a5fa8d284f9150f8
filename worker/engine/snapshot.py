"""A run's state as tensors by name, a few numbers, and its history: what a checkpoint writes."""

from __future__ import annotations

import torch
from torch import Tensor

from worker.engine.state import Snapshot, State

_NETWORK, _OBJECTIVE, _OPTIMIZER = "network/", "objective/", "optimizer/"
_BEST, _AVERAGE = "best/", "average/"
_COUNTERS = (
    "epoch", "batch", "step", "seen", "best_epoch", "train_seconds", "halvings", "rollbacks",
)  # fmt: skip


def take(state: State) -> Snapshot:
    """Copy a state; waits for the device."""
    found: dict[str, Tensor] = {}
    for prefix, tensors in (
        (_NETWORK, state.network.state_dict()),
        (_OBJECTIVE, state.objective.state_dict()),
        (_OPTIMIZER, _moments(state.optimizer)),
        (_AVERAGE, state.averages),
        (_BEST, state.best),
    ):
        found |= {prefix + name: tensor for name, tensor in tensors.items()}
    position = {name: getattr(state, name) for name in _COUNTERS} | {"correct": int(state.correct)}
    return Snapshot(
        # Clones, since tied weights share memory, which safetensors refuses.
        {name: t.detach().to("cpu", copy=True).contiguous() for name, t in found.items()},
        position,
        tuple(state.history),
    )


def restore(state: State, snapshot: Snapshot) -> None:
    """Bring a state of the same network and recipe to where a snapshot was taken.

    Args:
        state: Changed in place.
        snapshot: Left as it is.
    """
    tensors = snapshot.tensors
    state.network.load_state_dict(under(_NETWORK, tensors))
    state.objective.load_state_dict(under(_OBJECTIVE, tensors))
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in under(_OPTIMIZER, tensors).items():
        place, _, kind = name.partition("/")
        # The optimizer keeps a tensor that is on its device already, and would change ours.
        moments.setdefault(int(place), {})[kind] = tensor.clone()
    groups = state.optimizer.state_dict()["param_groups"]
    state.optimizer.load_state_dict({"state": moments, "param_groups": groups})
    for name, tensor in under(_AVERAGE, tensors).items():
        state.averages[name].copy_(tensor)
    state.best = under(_BEST, tensors)
    state.history = list(snapshot.history)
    for name, value in snapshot.position.items():
        setattr(state, name, value)


def under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Those whose name begins with a prefix, without it."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def _moments(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        f"{place}/{name}": value
        for place, values in optimizer.state_dict()["state"].items()
        for name, value in values.items()
        if isinstance(value, Tensor)
    }
