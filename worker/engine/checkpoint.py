"""A run's state in one safetensors file: nothing in it can be executed."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from stillhouse.errors import RunFailed
from worker.engine import seal, snapshot
from worker.engine.state import Epoch, Snapshot
from worker.protocol import File

FORMAT = 2
_TEACHER = "teacher/"


@dataclass(frozen=True, slots=True)
class Past:
    """What a run's finished stages left (see `stages`)."""

    stages: tuple[dict[str, Any], ...] = ()
    """What the result tells of each; JSON."""
    steps: int = 0
    """Of all of them."""
    seconds: float = 0.0
    """In steps, of all of them."""
    items: int = 0
    """Shown in all of them."""
    weights: dict[str, Tensor] = field(default_factory=dict)
    """The last one's best, on the CPU: the next stage's teacher."""


@dataclass(frozen=True, slots=True)
class Saved:
    """What a checkpoint holds."""

    snapshot: Snapshot
    """Of the stage under way; `snapshot.restore` brings a state there."""
    past: Past
    counters: dict[str, int]


def fingerprint(configuration: Mapping[str, Any]) -> str:
    """The SHA-256 of what a run must share with a checkpoint to go on from it, as JSON."""
    text = json.dumps(configuration, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def save(path: Path, saved: Saved, *, configuration: str) -> File:
    """Write a run's state so that the file is either whole or not there.

    Args:
        path: Where.
        saved: The run's.
        configuration: A `fingerprint`.

    Returns:
        The file, hashed and on the disk.
    """
    taken, past = saved.snapshot, saved.past
    header = {
        "format": FORMAT,
        "configuration": configuration,
        "torch": str(torch.__version__),
        "position": taken.position,
        "history": [dataclasses.asdict(epoch) for epoch in taken.history],
        "counters": saved.counters,
        "past": {name: getattr(past, name) for name in ("stages", "steps", "seconds", "items")},
    }
    tensors = taken.tensors | {_TEACHER + name: t for name, t in past.weights.items()}
    temporary = path.with_suffix(".tmp")
    safetensors.torch.save_file(tensors, temporary, metadata={"state": json.dumps(header)})
    file = seal.file(temporary, listed=path.name)
    temporary.rename(path)
    seal.folder(path.parent)
    return file | {"file": str(path)}


def load(path: Path, *, configuration: str) -> Saved:
    """Read a checkpoint.

    Args:
        path: The file.
        configuration: This run's `fingerprint`.

    Returns:
        What it holds.

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
    history = tuple(Epoch(**epoch) for epoch in header["history"])
    past = header["past"]
    return Saved(
        snapshot=Snapshot(tensors, header["position"], history),
        past=Past(
            tuple(past["stages"]),
            past["steps"],
            past["seconds"],
            past["items"],
            snapshot.under(_TEACHER, tensors),
        ),
        counters=dict(header["counters"]),
    )
