"""A ready dataset and a ready teacher of a running service: scikit-learn's digits."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits

from stillhouse.client import Client
from stillhouse.spec import InputSpec, NetworkSpec
from worker.engine import networks

_TEACHER = NetworkSpec(family="builtin", name="resnet14")
_INPUT = {"size": [8, 8], "channels": "gray", "mean": [0.5], "std": [0.5]}


@dataclass(frozen=True, slots=True)
class Ready:
    """Ids of what a job may name."""

    teacher: str
    dataset: str


def push(client: Client, folder: Path) -> Ready:
    """Send both and wait for their intake; what the teacher knows is no matter here."""
    found = load_digits()
    pixels = np.round(found.images * 255 / 16).astype(np.uint8)
    np.savez(folder / "digits.npz", x=pixels, y=found.target.astype(np.int64))
    network = networks.build(_TEACHER, classes=10, fed=InputSpec(size=(8, 8), channels="gray"))
    torch.save({"state_dict": network.state_dict()}, folder / "teacher.pt")
    dataset = client.create_dataset(
        {"name": "digits", "source": {"blob": client.put_blob(folder / "digits.npz")}}
    )
    teacher = client.create_teacher(
        {
            "name": "resnet14",
            "network": _TEACHER.model_dump(mode="json"),
            "weights": {"blob": client.put_blob(folder / "teacher.pt")},
            "input": _INPUT,
        }
    )
    for made in (dataset, teacher):
        client.wait_ready(made["id"])
    return Ready(teacher=teacher["id"], dataset=dataset["id"])
