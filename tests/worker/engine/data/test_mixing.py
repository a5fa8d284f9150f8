from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import TypeAdapter
from torch import Tensor

from stillhouse.errors import InputRejected
from stillhouse.spec import AnyInput, Augment, Crop, CutMix, Flip, Mixup
from worker.engine.data import mixing, parts, source, views
from worker.engine.data.source import Source

CPU = torch.device("cpu")
ROWS = 300
CROP, FLIP = Crop(kind="crop", padding=2), Flip(kind="flip")
MIXUP, CUTMIX = Mixup(kind="mixup", alpha=1.0), CutMix(kind="cutmix", alpha=1.0)
INPUT: TypeAdapter[AnyInput] = TypeAdapter(AnyInput)
AUGMENT: TypeAdapter[tuple[Augment, ...]] = TypeAdapter(tuple[Augment, ...])
CHANCE = np.random.default_rng(0)


def _source(folder: Path, x: np.ndarray[Any, Any]) -> Source:
    rows = np.arange(len(x), dtype=np.int64)
    np.savez(folder / "part.npz", x=x, y=rows % 10, rows=rows)
    return source.place(parts.open_part(folder / "part.npz"), device=CPU)


@pytest.fixture
def images(tmp_path: Path) -> Source:
    return _source(tmp_path, CHANCE.integers(1, 256, (ROWS, 9, 7, 3), dtype=np.uint8))


@pytest.fixture
def series(tmp_path: Path) -> Source:
    return _source(tmp_path, CHANCE.normal(size=(ROWS, 40, 2)).astype(np.float32))


def _show(
    given: Source, *augment: Augment, rows: Tensor | None = None, seed: int = 0, view: int = 0
) -> tuple[views.View, Tensor, Tensor]:
    """A view, and its partners and shares."""
    index = torch.arange(len(given)) if rows is None else rows
    shown = views.show(given, index, augment=augment, seed=seed, view=view)
    assert shown.partner is not None
    assert shown.share is not None
    return shown, shown.partner, shown.share


@pytest.mark.parametrize("mix", [MIXUP, CUTMIX])
def test_an_item_is_blended_the_same_in_whatever_batch_it_is_shown(
    images: Source, mix: Mixup | CutMix
) -> None:
    whole, partner, share = _show(images, CROP, mix, seed=3, view=5)
    some = torch.randperm(ROWS, generator=torch.Generator().manual_seed(0))[:37]
    torch.manual_seed(99)
    alone, its_partner, its_share = _show(images, CROP, mix, rows=some, seed=3, view=5)
    assert torch.equal(alone.items, whole.items[some])
    assert torch.equal(its_partner, partner[some])
    assert torch.equal(its_share, share[some])


def test_another_view_or_seed_blends_with_another_item(images: Source) -> None:
    _, partner, share = _show(images, MIXUP)
    for seed, view in ((1, 0), (0, 1)):
        _, theirs, shares = _show(images, MIXUP, seed=seed, view=view)
        assert (partner == theirs).float().mean() < 0.05
        assert (share == shares).float().mean() < 0.05


def test_partners_are_other_items_and_each_about_equally_often(images: Source) -> None:
    drawn = [_show(images, MIXUP, view=view)[1] for view in range(100)]
    assert all(bool((partner != torch.arange(ROWS)).all()) for partner in drawn)
    counts = torch.bincount(torch.cat(drawn), minlength=ROWS)
    # 100 expected each; five standard deviations are 50.
    assert (int(counts.min()), int(counts.max())) > (50, 0)
    assert int(counts.max()) < 150


@pytest.mark.parametrize("alpha", [0.05, 0.2, 1.0, 4.0, 100.0])
def test_shares_are_distributed_as_beta(alpha: float) -> None:
    shares = mixing._shares(alpha).double()
    drawn = torch.from_numpy(CHANCE.beta(alpha, alpha, 200_000))
    # The distance of the two distribution functions; three standard errors of it are 0.0034.
    at = torch.linspace(0.001, 0.999, 101, dtype=torch.float64)
    ours, theirs = ((values[:, None] <= at).double().mean(0) for values in (shares, drawn))
    assert (ours - theirs).abs().max() < 0.005
    assert shares.mean() == pytest.approx(0.5, abs=1e-5)
    assert shares.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.01)


def test_mixup_is_the_blend_of_two_items_each_moved_by_its_own_view(images: Source) -> None:
    shown, partner, share = _show(images, CROP, FLIP, MIXUP, view=2)
    moved = views.show(images, torch.arange(ROWS), augment=(CROP, FLIP), seed=0, view=2).items
    own, other = moved.double() / 255, moved[partner].double() / 255
    weight = share.double().view(-1, 1, 1, 1)
    assert shown.items.dtype == torch.float32
    assert torch.allclose(shown.items.double(), weight * own + (1 - weight) * other, atol=1e-6)


def test_floats_are_blended_in_their_own_unit(series: Source) -> None:
    shown, partner, share = _show(series, MIXUP)
    own, weight = torch.from_numpy(np.array(series.items)), share.view(-1, 1, 1)
    assert torch.allclose(shown.items, weight * own + (1 - weight) * own[partner], atol=1e-5)


def test_cutmix_pastes_a_box_and_the_share_is_its_area(images: Source) -> None:
    shown, partner, share = _show(images, CUTMIX)
    own = torch.from_numpy(np.array(images.items))
    assert shown.items.dtype == torch.uint8
    for row in range(ROWS):
        first, second, seen = own[row], own[partner[row]], shown.items[row]
        theirs = ((seen == second) & (first != second)).any(-1)
        assert bool(((seen == first).all(-1) | (seen == second).all(-1)).all())
        assert 1 - theirs.double().mean() == pytest.approx(float(share[row]), abs=1e-6)
        inside = theirs.nonzero()
        if len(inside):
            low, high = inside.min(0).values, inside.max(0).values + 1
            assert int((high - low).prod()) == len(inside)
    assert 0.5 < share.mean() < 0.8  # At 1/2 the centre would never be near a border.


def test_cutmix_of_a_series_pastes_a_span(series: Source) -> None:
    shown, partner, share = _show(series, CUTMIX)
    own = torch.from_numpy(np.array(series.items))
    for row in range(ROWS):
        theirs = (shown.items[row] == own[partner[row]]).all(-1)
        assert theirs.float().mean() == pytest.approx(1 - float(share[row]), abs=1e-6)
        assert int(theirs.int().diff().abs().sum()) <= 2
        assert torch.equal(shown.items[row][~theirs], own[row][~theirs])


IMAGE = {"size": [8, 8]}
SERIES = {"modality": "sequence", "length": 40}
TEXT = {"modality": "text"}
NUMBERS = {"modality": "tabular", "columns": [{"name": "a", "kind": "number"}]}
TABLE = {
    "modality": "tabular",
    "columns": [*NUMBERS["columns"], {"name": "b", "kind": "category", "values": ["x", "y"]}],
}


@pytest.mark.parametrize(
    ("fed", "suits"),
    [
        (IMAGE, {"crop", "flip", "mixup", "cutmix"}),
        (SERIES, {"mixup", "cutmix"}),
        (NUMBERS, {"mixup"}),
        (TABLE, set()),
        (TEXT, set()),
    ],
)
@pytest.mark.parametrize("kind", ["crop", "flip", "mixup", "cutmix"])
def test_what_cannot_be_done_to_such_items_is_refused(
    fed: dict[str, Any], suits: set[str], kind: str
) -> None:
    augment = AUGMENT.validate_python([{"kind": kind}])
    given = INPUT.validate_python(fed)
    if kind in suits:
        mixing.check(augment, given)
        return
    with pytest.raises(InputRejected) as refused:
        mixing.check(augment, given)
    assert refused.value.rejected_code == "augment_not_for_modality"
    assert refused.value.field == "training.augment.0"
    assert set(refused.value.extra["allowed"]) == suits


def test_two_ways_to_mix_are_one_too_many() -> None:
    with pytest.raises(InputRejected) as refused:
        mixing.check((CROP, MIXUP, CUTMIX), INPUT.validate_python(IMAGE))
    assert refused.value.rejected_code == "two_mixes"
    assert refused.value.field == "training.augment.2"
