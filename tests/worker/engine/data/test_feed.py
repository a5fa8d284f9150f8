from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from stillhouse.spec import InputSpec
from worker.engine.data import feed
from worker.engine.data.feed import Feed

RGB = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 16, 12, 3), dtype=np.uint8))


def _feed(**fields: Any) -> Feed:
    return feed.make(InputSpec.model_validate(fields), device=torch.device("cpu"))


def test_bytes_become_shares_of_255_and_floats_stay_as_they_are() -> None:
    gray = _feed(size=(1, 2), channels="gray")
    fed = gray(torch.tensor([[[[0], [51]]]], dtype=torch.uint8))
    assert fed.flatten().tolist() == pytest.approx([0.0, 0.2])
    floats = torch.tensor([[[[-3.0], [500.0]]]])
    assert torch.equal(gray(floats), floats.permute(0, 3, 1, 2))


def test_the_statistics_are_those_of_each_channel() -> None:
    fed = _feed(size=(16, 12), mean=(0.1, 0.2, 0.3), std=(1.0, 2.0, 4.0))(RGB)
    plain = RGB.permute(0, 3, 1, 2) / 255
    for channel, (mean, std) in enumerate([(0.1, 1.0), (0.2, 2.0), (0.3, 4.0)]):
        assert torch.allclose(fed[:, channel], (plain[:, channel] - mean) / std)


def test_gray_is_repeated_for_a_network_in_colour() -> None:
    fed = _feed(size=(16, 12), channels="rgb")(RGB[..., :1])
    assert fed.shape == (2, 3, 16, 12)
    assert torch.equal(fed[:, 0], fed[:, 2])


def test_colour_becomes_the_luminance_that_pil_computes() -> None:
    fed = _feed(size=(16, 12), channels="gray")(RGB)
    expected = np.stack([np.asarray(Image.fromarray(i.numpy()).convert("L")) for i in RGB]) / 255
    assert np.abs(fed[:, 0].numpy() - expected).max() <= 1 / 255


@pytest.mark.parametrize(
    ("name", "filtered", "tolerance"),
    [
        ("nearest", Image.Resampling.NEAREST, 0.0),
        ("bilinear", Image.Resampling.BILINEAR, 1.0),
    ],
)
@pytest.mark.parametrize("size", [(8, 6), (32, 24)])
def test_another_size_is_reached_as_pil_does(
    name: str, filtered: Image.Resampling, tolerance: float, size: tuple[int, int]
) -> None:
    fed = _feed(size=size, interpolation=name)(RGB)
    for item, image in zip(fed, RGB, strict=True):
        expected = np.asarray(Image.fromarray(image.numpy()).resize(size[::-1], filtered))
        found = item.permute(1, 2, 0).numpy() * 255
        assert np.abs(found - expected).max() <= tolerance + 1e-3


def test_an_image_of_the_right_size_is_not_resampled() -> None:
    fed = _feed(size=(16, 12), interpolation="bicubic")(RGB)
    assert torch.equal(fed, RGB.permute(0, 3, 1, 2) / 255)
