from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from stillhouse.spec import Crop, Flip
from worker.engine.data import views

CROP, FLIP = Crop(kind="crop", padding=2), Flip(kind="flip")
BOTH = (CROP, FLIP)
COUNT = 400
IMAGES = torch.from_numpy(
    np.random.default_rng(0).integers(1, 256, (COUNT, 6, 5, 3), dtype=np.uint8)
)
INDEX = torch.arange(COUNT)


def _show(seed: int = 0, view: int = 0, augment: tuple[Crop | Flip, ...] = BOTH) -> Tensor:
    return views.apply(IMAGES, INDEX, augment=augment, seed=seed, view=view)


def _crops(image: Tensor, padding: int) -> list[Tensor]:
    """Every crop that there is, row by row."""
    height, width, _ = image.shape
    padded = F.pad(image, (0, 0, padding, padding, padding, padding))
    return [
        padded[y : y + height, x : x + width]
        for y in range(2 * padding + 1)
        for x in range(2 * padding + 1)
    ]


def test_a_view_is_the_same_in_whatever_batch_it_is_asked_for() -> None:
    shuffled = torch.randperm(COUNT, generator=torch.Generator().manual_seed(0))[:37]
    some = views.apply(IMAGES[shuffled], shuffled, augment=BOTH, seed=3, view=5)
    assert torch.equal(some, _show(seed=3, view=5)[shuffled])


def test_a_view_does_not_look_at_the_global_generator() -> None:
    torch.manual_seed(1)
    first = _show()
    torch.manual_seed(2)
    assert torch.equal(first, _show())


def test_another_seed_view_or_index_is_another_draw() -> None:
    shown = _show()
    for other in (_show(seed=1), _show(view=1)):
        same = (shown == other).flatten(1).all(dim=1).float().mean()
        assert same < 0.1
    alike = views.apply(IMAGES[:1].expand(50, -1, -1, -1), INDEX[:50], augment=BOTH, seed=0, view=0)
    assert len(torch.unique(alike.flatten(1), dim=0)) > 20


def test_a_crop_is_cut_from_the_image_with_zeros_around_it() -> None:
    shown = _show(augment=(CROP,))
    for image, seen in zip(IMAGES[:50], shown, strict=False):
        assert any(torch.equal(seen, crop) for crop in _crops(image, 2))


def test_crops_take_every_offset_about_equally_often() -> None:
    image = IMAGES[:1].expand(5000, -1, -1, -1)
    shown = views.apply(image, torch.arange(5000), augment=(CROP,), seed=0, view=0)
    crops = _crops(IMAGES[0], 2)
    counts = [int((shown == crop).flatten(1).all(dim=1).sum()) for crop in crops]
    assert sum(counts) == 5000
    # 200 expected; four standard deviations of a binomial are 55.
    assert min(counts) > 145
    assert max(counts) < 255


def test_half_of_the_items_are_mirrored() -> None:
    shown = _show(augment=(FLIP,))
    mirrored = (shown == IMAGES.flip(2)).flatten(1).all(dim=1)
    kept = (shown == IMAGES).flatten(1).all(dim=1)
    assert bool((mirrored | kept).all())
    assert 0.4 < mirrored.float().mean() < 0.6


@pytest.mark.parametrize("augment", [(CROP, FLIP), (FLIP, CROP), (CROP, CROP, FLIP)])
def test_operations_are_done_in_the_order_given(augment: tuple[Crop | Flip, ...]) -> None:
    shown = _show(augment=augment)
    for image, seen in zip(IMAGES[:20], shown, strict=False):
        reachable = [image]
        for operation in augment:
            reachable = [
                after
                for before in reachable
                for after in (
                    _crops(before, 2) if isinstance(operation, Crop) else [before, before.flip(1)]
                )
            ]
        assert any(torch.equal(seen, one) for one in reachable)


def test_nothing_to_do_leaves_the_images_alone() -> None:
    assert views.apply(IMAGES, INDEX, augment=(), seed=0, view=0) is IMAGES


def test_views_are_those_of_every_other_version_and_machine() -> None:
    """A change here would give other targets under old names, and break resuming."""
    digest = hashlib.sha256(_show(seed=7, view=3).numpy().tobytes()).hexdigest()
    assert digest == "7c19988758678c27356c083ae9c2f41da4f3796958a281daa22aad6e932c3ef0"


def test_k_views_return_and_fresh_ones_do_not() -> None:
    assert [views.number(e, views=2, augment=BOTH) for e in range(5)] == [0, 1, 0, 1, 0]
    assert [views.number(e, views="fresh", augment=BOTH) for e in range(3)] == [0, 1, 2]
    assert [views.number(e, views="fresh", augment=()) for e in range(3)] == [0, 0, 0]
    assert views.count(views=5, epochs=3, augment=BOTH) == 3
    assert views.count(views="fresh", epochs=3, augment=()) == 1
