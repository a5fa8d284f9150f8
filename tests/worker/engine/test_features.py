from __future__ import annotations

import gc
import weakref

import torch
from torch import Tensor, nn

from tests.worker.conftest import RESNET, Lab
from tests.worker.engine.terms import lesson
from worker.engine import features


class Twice(nn.Module):
    """Puts out a tuple, as the layers of some transformers do, and runs one layer twice."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.pair = Pair()
        self.idle = nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.pair(self.linear(x))[0])  # type: ignore[no-any-return]  # nn.Module.__call__ is untyped


class Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x + 1, x


def test_layers_are_read_while_the_block_lasts_and_no_longer() -> None:
    network, x = Twice(), torch.rand(2, 3)
    with features.capture(network, ("linear", "pair")) as seen:
        output = network(x)
    assert torch.equal(seen["linear"], output)
    assert torch.equal(seen["pair"], network.linear(x) + 1)
    kept = dict(seen)
    network(x + 1)
    assert seen == kept


def test_measuring_keeps_the_networks_mode_and_its_statistics() -> None:
    network = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(0.5))
    found = features.measure(network, ("0",), torch.rand(2, 3) + 5)
    assert network.training
    assert network[1].training
    assert torch.equal(network.get_buffer("0.running_mean"), torch.zeros(3))
    assert not found["0"].requires_grad


def test_what_is_not_run_is_not_found() -> None:
    assert "idle" not in features.measure(Twice(), ("idle", "linear"), torch.rand(2, 3))


def test_no_activation_outlives_the_step(lab: Lab) -> None:
    kinds = ("feature_hint", "contrastive", "review", "similarity", "relations")
    given = lesson.begin(lab, *({"kind": kind} for kind in kinds), teacher=RESNET)
    batch = given.batch()
    loss = given.objective(batch)
    assert batch.teacher is not None
    shown = [*batch.features.values(), *batch.teacher.features.values()]
    watched = [weakref.ref(tensor) for tensor in shown]
    assert len(watched) >= 4
    loss.total.backward()
    del shown, batch
    gc.collect()
    assert [ref for ref in watched if ref() is not None] == []
