from __future__ import annotations

import torch

from tests.worker.engine.losses.cases import draw
from worker.engine.losses import directions


def test_vectors_have_the_length_of_one_along_the_axis() -> None:
    vectors = draw((3, 4, 5), 0)
    units = directions.unit(vectors, dim=1)
    assert torch.allclose(units.norm(dim=1), torch.ones(3, 5, dtype=torch.float64))
    assert torch.allclose(units * vectors.norm(dim=1, keepdim=True), vectors)


def test_a_vector_without_length_stays_zero_and_passes_nothing_back() -> None:
    vectors = torch.tensor([[0.0, 0], [3, 4]], requires_grad=True)
    units = directions.unit(vectors, dim=1)
    (gradient,) = torch.autograd.grad(units.sum(), vectors)
    assert torch.equal(units.detach(), torch.tensor([[0.0, 0], [0.6, 0.8]]))
    assert torch.equal(gradient[0], torch.zeros(2))
