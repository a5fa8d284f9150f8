from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tests.worker.engine.losses.cases import draw
from worker.engine.losses import pooling


@pytest.mark.parametrize("size", [(4, 2), (3, 5), (1, 1), (7, 10)])
def test_maps_are_averaged_as_torch_does(size: tuple[int, int]) -> None:
    maps = draw((2, 3, 7, 10), 0)
    assert torch.allclose(pooling.shrink(maps, size), F.adaptive_avg_pool2d(maps, size))


def test_series_are_averaged_as_torch_does() -> None:
    series = draw((2, 3, 11), 0)
    assert torch.allclose(pooling.shrink(series, [4]), F.adaptive_avg_pool1d(series, 4))
