"""A network on all parts of a dataset, in eval mode and float32, without augmentation."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from stillhouse.errors import RunFailed
from worker.engine import predict
from worker.engine.data.feed import Feed
from worker.engine.data.parts import Part
from worker.engine.proof import metrics

BATCH = 256
"""Rows in one forward; fixed, so that no figure depends on the job's batch size."""
PARTS = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a network does on a dataset."""

    figures: dict[str, dict[str, float]]
    """Part -> metric -> value; a part without rows has no metrics."""
    test_logits: Tensor | None
    """(rows, classes), float32 on the CPU; None without a test part."""
    items: int
    """How many rows the network was run on."""

    @property
    def gap(self) -> float | None:
        """Accuracy on train less that on test: positive when over-fitted."""
        train, test = self.figures["train"], self.figures["test"]
        return train["accuracy"] - test["accuracy"] if train and test else None


def make(
    network: nn.Module,
    parts: dict[str, Part],
    feed: Feed,
    *,
    device: torch.device,
    each: Callable[[], None],
) -> Evaluation:
    """Run a network over every part, the test part last and once.

    Outputs that are no finite numbers end the run as `outputs_not_finite`.

    Args:
        network: On `device`, its outputs in the dataset's class order.
        parts: Those with rows.
        feed: What the network is fed.
        device: Where it runs.
        each: Called after each batch; it may raise to stop.

    Returns:
        Its figures, and its outputs on the test part.
    """
    figures: dict[str, dict[str, float]] = {}
    logits = None
    for name in PARTS:
        logits = _logits(network, parts.get(name), feed, device=device, each=each)
        figures[name] = {} if logits is None else metrics.score(logits, labels(parts[name]))
    return Evaluation(figures, logits, sum(len(part) for part in parts.values()))


def batches(parts: dict[str, Part]) -> int:
    """How many batches `make` runs, and so how often it calls `each`."""
    return sum(math.ceil(len(part) / BATCH) for part in parts.values())


def labels(part: Part) -> Tensor:
    """A part's labels, (rows,) int64, off the mapped file."""
    return torch.from_numpy(np.array(part.labels))


def copies(part: Part) -> npt.NDArray[np.int64] | None:
    """(rows,), the first row with the same item; None when all differ."""
    first: dict[bytes, int] = {}
    clusters = np.empty(len(part), dtype=np.int64)
    for row, digest in enumerate(_digests(part)):
        clusters[row] = first.setdefault(digest, row)
    return clusters if len(first) < len(part) else None


def count_shared(part: Part, others: Iterable[Part]) -> int:
    """How many rows of a part have an item that other parts have, too."""
    theirs = {digest for other in others for digest in _digests(other)}
    return sum(digest in theirs for digest in _digests(part)) if theirs else 0


def _digests(part: Part) -> Iterator[bytes]:
    for row in range(len(part)):
        yield hashlib.blake2b(part.bytes_of(row), digest_size=16).digest()


def _logits(
    network: nn.Module,
    part: Part | None,
    feed: Feed,
    *,
    device: torch.device,
    each: Callable[[], None],
) -> Tensor | None:
    if part is None:
        return None
    logits = predict.logits(
        network, part, feed, batch_size=BATCH, device=device, each=lambda _: each()
    )
    if not bool(torch.isfinite(logits).all()):
        raise RunFailed(
            "outputs_not_finite",
            "A network's outputs are not finite numbers, so it can't be judged; train with a "
            "lower learning rate, or check the teacher's weights.",
        )
    return logits
