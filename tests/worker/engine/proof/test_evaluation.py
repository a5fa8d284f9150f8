from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from stillhouse.errors import RunFailed
from stillhouse.spec import InputSpec
from worker.engine.data import feed, parts
from worker.engine.data.parts import Part
from worker.engine.proof import evaluation, predictions


class Brightest(nn.Module):
    """Names the class of the brightest pixel, so that its figures are known."""

    def __init__(self) -> None:
        super().__init__()
        self.seen = 0

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch, h * w)."""
        self.seen += len(x)
        assert not self.training
        return x.flatten(1)


def _part(path: Path, *, right: int, wrong: int) -> Part:
    total = right + wrong
    labels = np.arange(total) % 4
    images = np.zeros((total, 2, 2, 1), dtype=np.uint8)
    shown = np.where(np.arange(total) < right, labels, (labels + 1) % 4)
    images.reshape(total, 4)[np.arange(total), shown] = np.arange(total) % 200 + 50
    np.savez(path, x=images, y=labels, rows=np.arange(total) + 1000)
    return parts.open_part(path)


def _evaluate(network: nn.Module, given: dict[str, Part]) -> tuple[evaluation.Evaluation, int]:
    calls: list[Any] = []
    device = torch.device("cpu")
    fed = feed.make(InputSpec(size=(2, 2), channels="gray"), device=device)
    found = evaluation.make(network, given, fed, device=device, each=lambda: calls.append(None))
    return found, len(calls)


def test_every_part_is_scored_and_read_once(tmp_path: Path) -> None:
    given = {
        "train": _part(tmp_path / "a.npz", right=10, wrong=0),
        "validation": _part(tmp_path / "b.npz", right=5, wrong=5),
        "test": _part(tmp_path / "c.npz", right=3, wrong=1),
    }
    network = Brightest()
    found, calls = _evaluate(network, given)
    assert [found.figures[part]["accuracy"] for part in evaluation.PARTS] == [1.0, 0.5, 0.75]
    assert found.gap == 0.25
    assert (network.seen, found.items, calls) == (24, 24, 3)


def test_a_part_without_rows_has_no_figures(tmp_path: Path) -> None:
    found, _ = _evaluate(Brightest(), {"train": _part(tmp_path / "a.npz", right=4, wrong=0)})
    assert found.figures["test"] == {}
    assert found.test_logits is None
    assert found.gap is None


def test_outputs_that_are_not_numbers_are_not_judged(tmp_path: Path) -> None:
    class Broken(Brightest):
        def forward(self, x: Tensor) -> Tensor:
            return super().forward(x) / 0

    with pytest.raises(RunFailed) as failure:
        _evaluate(Broken(), {"train": _part(tmp_path / "a.npz", right=4, wrong=0)})
    assert failure.value.failure == "outputs_not_finite"


def test_copies_are_found_by_their_pixels(tmp_path: Path) -> None:
    part = _part(tmp_path / "a.npz", right=6, wrong=0)
    assert evaluation.copies(part) is None
    images = np.array(part.x)
    images[4] = images[1]
    np.savez(tmp_path / "b.npz", x=images, y=part.labels, rows=part.rows)
    clusters = evaluation.copies(parts.open_part(tmp_path / "b.npz"))
    assert clusters is not None
    assert clusters.tolist() == [0, 1, 2, 3, 1, 5]


def test_predictions_are_plain_numpy_arrays_and_the_same_bytes_each_time(tmp_path: Path) -> None:
    part = _part(tmp_path / "a.npz", right=3, wrong=2)
    logits = torch.randn(5, 4)
    for name in ("one.npz", "two.npz"):
        predictions.write(tmp_path / name, part=part, logits=logits)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    with np.load(tmp_path / "one.npz", allow_pickle=False) as stored:
        assert stored["rows"].tolist() == [1000, 1001, 1002, 1003, 1004]
        assert stored["labels"].tolist() == [0, 1, 2, 3, 0]
        np.testing.assert_array_equal(stored["logits"], logits.numpy())


def test_rows_that_stand_in_other_parts_too_are_counted(tmp_path: Path) -> None:
    test = _part(tmp_path / "test.npz", right=3, wrong=2)
    same = _part(tmp_path / "same.npz", right=3, wrong=0)
    apart = tmp_path / "apart.npz"
    np.savez(apart, x=np.ones((4, 2, 2, 1), np.uint8), y=np.zeros(4, np.int64), rows=np.arange(4))
    other = parts.open_part(apart)
    assert evaluation.count_shared(test, []) == 0
    assert evaluation.count_shared(test, [other]) == 0
    assert evaluation.count_shared(test, [other, same]) == 3
