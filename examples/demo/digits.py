"""The demo's data and its teacher, made as a user would have made them: no code of ours here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits

CLASSES = [str(digit) for digit in range(10)]
SIZE = 16
MEAN, STD = 0.5, 0.5
EPOCHS, BATCH_SIZE, LEARNING_RATE = 12, 64, 0.1


def write(file: Path) -> None:
    """Writes scikit-learn's 1,797 scanned digits as arrays x (1797, 16, 16) and y.

    Each of the 8 x 8 pixels, 0 to 16, becomes 2 x 2 of 0 to 255, so that a residual network made
    for photographs has something to halve.
    """
    digits = load_digits()
    pixels = np.round(digits.images * (255 / 16)).astype(np.uint8)
    doubled = pixels.repeat(2, axis=1).repeat(2, axis=2)
    np.savez(file, x=doubled, y=digits.target.astype(np.int64))


def train_teacher(
    file: Path, *, rows: Sequence[int], checkpoint: Path, progress: Callable[[int, int], None]
) -> None:
    """Trains a ResNet-18 on `rows` of the arrays and saves its state dict.

    The number of epochs is fixed beforehand: nothing is chosen by looking at other rows.

    Args:
        file: The arrays.
        rows: The training part of the dataset's split; the teacher sees no other row.
        checkpoint: Where the state dict goes.
        progress: Called with the epochs done and in all.
    """
    torch.set_num_threads(1)  # see `service`: a second one gains little here
    torch.manual_seed(0)
    images, labels = _tensors(file, rows)
    network: torch.nn.Module = timm.create_model("resnet18", num_classes=10, in_chans=1)
    optimizer = torch.optim.SGD(
        network.parameters(), lr=LEARNING_RATE, momentum=0.9, weight_decay=5e-4
    )
    batches = len(labels) // BATCH_SIZE
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, LEARNING_RATE, total_steps=EPOCHS * batches
    )
    for epoch in range(EPOCHS):
        order = torch.randperm(len(labels))[: batches * BATCH_SIZE]
        for batch in order.view(batches, BATCH_SIZE):
            optimizer.zero_grad()
            F.cross_entropy(network(images[batch]), labels[batch]).backward()  # type: ignore[no-untyped-call]  # torch's own
            optimizer.step()
            schedule.step()
        progress(epoch + 1, EPOCHS)
    torch.save(network.state_dict(), checkpoint)


def teacher_spec(dataset: str) -> dict[str, Any]:
    """What the service is told of the teacher, but for its weights."""
    statistics = {"mean": [MEAN], "std": [STD]}
    return {
        "name": "digits-resnet18",
        "network": {
            "family": "timm",
            "name": "resnet18",
            "options": {"num_classes": 10, "in_chans": 1},
        },
        "input": {"size": [SIZE, SIZE], "channels": "gray"} | statistics,
        "classes": CLASSES,
        "trained_on": {"dataset": dataset, "parts": ["train"]},
    }


def _tensors(file: Path, rows: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    with np.load(file) as arrays:
        pixels, labels = arrays["x"][list(rows)], arrays["y"][list(rows)]
    scaled = torch.from_numpy(pixels).unsqueeze(1).float() / 255
    return (scaled - MEAN) / STD, torch.from_numpy(labels)
