from __future__ import annotations

from itertools import groupby

import torch
from torch import Tensor, nn

from stillhouse.spec import InputSpec
from worker.engine.proof import latency


class Remembering(nn.Module):
    """Notes the batch size of every run."""

    def __init__(self) -> None:
        super().__init__()
        self.batches: list[int] = []

    def forward(self, x: Tensor) -> Tensor:
        """Its input."""
        assert not self.training
        self.batches.append(len(x))
        return x


def test_a_figure_is_the_median_of_thirty_runs_or_more() -> None:
    figures = latency.measure(nn.Flatten(), fed=InputSpec(size=(8, 8)), device=torch.device("cpu"))
    assert [figure["batch"] for figure in figures] == [1, 64]
    assert all(figure["runs"] >= 30 for figure in figures)
    assert all(0 < figure["median_ms"] <= figure["p95_ms"] for figure in figures)


def test_batch_sizes_take_turns_after_each_has_warmed_up() -> None:
    network = Remembering()
    latency.measure(
        network, fed=InputSpec(size=(2, 2), channels="gray"), device=torch.device("cpu")
    )
    turns = [(batch, len(list(run))) for batch, run in groupby(network.batches)]
    assert turns[:2] == [(1, 3), (64, 3)]
    assert turns[2:8] == [(1, 11), (64, 11)] * 3
