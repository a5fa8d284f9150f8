from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from stillhouse.spec import AdamW, Muon, Sgd
from worker.engine import optimizers


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(20, 8)
        self.convolution = nn.Conv1d(8, 16, 3, padding=1)
        self.norm = nn.BatchNorm1d(16)
        self.head = nn.Linear(16, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.norm(self.convolution(self.words(x).transpose(1, 2))).relu()
        logits: torch.Tensor = self.head(h.mean(2))
        return logits


def _step(spec: Sgd | AdamW | Muon, lr: float = 0.01) -> dict[str, torch.Tensor]:
    """By how much one step moves each parameter."""
    torch.manual_seed(0)
    network, chance = Small(), torch.Generator().manual_seed(1)
    optimizer = optimizers.make(spec, network)
    before = {name: p.detach().clone() for name, p in network.named_parameters()}
    x = torch.randint(0, 20, (32, 12), generator=chance)
    F.cross_entropy(network(x), x[:, 0] % 10).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    for group in optimizer.param_groups:
        group["lr"] = lr
    optimizer.step()
    return {name: p.detach() - before[name] for name, p in network.named_parameters()}


def test_muon_orthogonalises_matrices_and_convolutions() -> None:
    moved = _step(Muon(kind="muon", weight_decay=0.0))
    for name in ("convolution.weight", "head.weight"):
        update = moved[name].flatten(1)
        rows, columns = update.shape
        # Newton-Schulz of five steps in bfloat16 brings singular values near 1, not to it.
        singular = torch.linalg.svdvals(update) / (0.01 * 0.2 * max(rows, columns) ** 0.5)
        # The head's last one is 0 in its gradient: a softmax's sums to 0 over the classes.
        assert singular.sort().values[1] > 0.7
        assert singular.max() < 1.3


def test_muon_leaves_embeddings_biases_and_normalisation_to_adam() -> None:
    ours = _step(Muon(kind="muon", weight_decay=0.0))
    for name in ("words.weight", "norm.weight", "norm.bias", "head.bias"):
        # Adam's first step is the rate for every parameter that has a gradient.
        moved = ours[name][ours[name] != 0].abs()
        assert torch.allclose(moved, moved.max().expand_as(moved), rtol=0.2), name
        assert 0.005 < moved.max() < 0.03


@pytest.mark.parametrize(
    "spec", [Sgd(kind="sgd"), AdamW(kind="adamw"), Muon(kind="muon", weight_decay=0.0)]
)
def test_a_rate_of_zero_moves_nothing(spec: Sgd | AdamW | Muon) -> None:
    assert all(not moved.any() for moved in _step(spec, lr=0.0).values())


def test_the_objectives_own_parameters_are_trained_too() -> None:
    network, projector = nn.Linear(4, 4), nn.Linear(4, 4)
    optimizer = optimizers.make(Sgd(kind="sgd"), network, projector)
    assert len(optimizer.param_groups[0]["params"]) == 4
