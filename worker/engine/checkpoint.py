"""A run's state in one safetensors file: nothing in it can be executed."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from stillhouse.errors import RunFailed
from worker.engine import seal
from worker.engine.state import Epoch, State
from worker.protocol import File

FORMAT = 2
_NETWORK, _OBJECTIVE, _OPTIMIZER, _BEST = "network/", "objective/", "optimizer/", "best/"
_COUNTERS = ("epoch", "batch", "step", "seen", "best_epoch", "train_seconds")


def fingerprint(configuration: Mapping[str, Any]) -> str:
    """The SHA-256 of what a run must share with a checkpoint to go on from it, as JSON."""
    text = json.dumps(configuration, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def save(path: Path, state: State, *, configuration: str, counters: Mapping[str, int]) -> File:
    """Write a state so that the file is either whole or not there.

    Args:
        path: Where.
        state: The run's.
        configuration: A `fingerprint`.
        counters: More numbers to keep.

    Returns:
        The file, hashed and on the disk.
    """
    position = {name: getattr(state, name) for name in _COUNTERS} | {"correct": int(state.correct)}
    header = {
        "format": FORMAT,
        "configuration": configuration,
        "torch": str(torch.__version__),
        "position": position,
        "history": [dataclasses.asdict(epoch) for epoch in state.history],
        "counters": dict(counters),
    }
    temporary = path.with_suffix(".tmp")
    safetensors.torch.save_file(_tensors(state), temporary, metadata={"state": json.dumps(header)})
    file = seal.file(temporary, listed=path.name)
    temporary.rename(path)
    seal.folder(path.parent)
    return file | {"file": str(path)}


def load(path: Path, state: State, *, configuration: str) -> dict[str, int]:
    """Bring a fresh state to where a checkpoint was written.

    Args:
        path: The file.
        state: Of the same network and recipe; changed only if everything fits.
        configuration: This run's `fingerprint`.

    Returns:
        The `counters` that were saved with it.

    Raises:
        RunFailed: `checkpoint_unusable`: it is of another configuration, or not readable.
    """
    try:
        with safetensors.safe_open(path, framework="pt") as opened:
            header = json.loads(opened.metadata()["state"])
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118 - not a dict
    except (safetensors.SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise RunFailed("checkpoint_unusable", f"The checkpoint can't be read: {error}") from error
    if (header["format"], header["configuration"]) != (FORMAT, configuration):
        raise RunFailed(
            "checkpoint_unusable", "The checkpoint was written under another configuration."
        )
    _restore(state, tensors, header)
    return dict(header["counters"])


def _tensors(state: State) -> dict[str, Tensor]:
    found: dict[str, Tensor] = {}
    for name, tensor in state.network.state_dict().items():
        found[_NETWORK + name] = tensor
    for name, tensor in state.objective.state_dict().items():
        found[_OBJECTIVE + name] = tensor
    for place, values in state.optimizer.state_dict()["state"].items():
        for name, value in values.items():
            if isinstance(value, Tensor):
                found[f"{_OPTIMIZER}{place}/{name}"] = value
    for name, tensor in state.best.items():
        found[_BEST + name] = tensor
    # Clones, since tied weights share memory, which the format refuses.
    return {name: tensor.detach().cpu().clone().contiguous() for name, tensor in found.items()}


def _restore(state: State, tensors: dict[str, Tensor], header: dict[str, Any]) -> None:
    state.network.load_state_dict(_under(_NETWORK, tensors))
    state.objective.load_state_dict(_under(_OBJECTIVE, tensors))
    moments: dict[int, dict[str, Tensor]] = {}
    for name, tensor in _under(_OPTIMIZER, tensors).items():
        place, _, kind = name.partition("/")
        moments.setdefault(int(place), {})[kind] = tensor
    groups = state.optimizer.state_dict()["param_groups"]
    state.optimizer.load_state_dict({"state": moments, "param_groups": groups})
    state.best = _under(_BEST, tensors)
    state.history = [Epoch(**epoch) for epoch in header["history"]]
    for name, value in header["position"].items():
        setattr(state, name, value)


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
