"""Mixup and CutMix as views: partner, share and box are functions of (view seed, view, index).

Mixup (Zhang et al. 2018, arXiv:1710.09412) blends two items, CutMix (Yun et al. 2019,
arXiv:1905.04899) pastes a box of the second one into the first. Usually both are drawn for a
batch, from a generator; drawn for each item from its own counters they are the same for the
teacher, every student, arm and seed, and a teacher's output for a view can be kept.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from stillhouse.errors import InputRejected
from stillhouse.spec import AnyInput, Augment, CutMix, Mixup, NumberColumn, TableInput
from worker.engine.data import draws

_QUANTILES = 4096
_GRID = 65_536
"""Points that the density of a share is integrated over; the quantiles are right to 1e-4."""
_FRACTION = 2**16
"""Shares are multiples of 1/this: the last bits of a machine's own `exp` are rounded away."""
_LANES = {"partner": 16, "share": 17, "row": 18, "column": 19}
"""Streams after those of eight crops or flips (see `views`)."""
_SUITS = {
    "crop": ("image",),
    "flip": ("image",),
    "mixup": ("image", "sequence", "tabular"),
    "cutmix": ("image", "sequence"),
}


@dataclass(frozen=True, slots=True)
class Blend:
    """Who is blended into each item of a batch, and how much; all on the CPU."""

    partner: Tensor
    """(batch,) int64, positions in the source; never the item itself."""
    share: Tensor
    """(batch,) float32, of the first item. For CutMix it is to be measured: see `paste`."""


def kind(augment: tuple[Augment, ...]) -> Mixup | CutMix | None:
    """What mixes, if anything does."""
    return next((one for one in augment if isinstance(one, Mixup | CutMix)), None)


def check(augment: tuple[Augment, ...], fed: AnyInput) -> None:
    """Refuse what can't be done to such items.

    Args:
        augment: Of the job's training.
        fed: What a student is fed.

    Raises:
        InputRejected: `augment_not_for_modality` or `two_mixes`.
    """
    for place, one in enumerate(augment):
        # A number between two categories' numbers would be a third category.
        is_blendable = not isinstance(fed, TableInput) or _is_numeric(fed)
        if fed.modality not in _SUITS[one.kind] or not is_blendable:
            raise InputRejected(
                "augment_not_for_modality",
                f"'{one.kind}' can't be done to {_items(fed)}; leave it out.",
                field=f"training.augment.{place}",
                allowed=[
                    name
                    for name, modalities in _SUITS.items()
                    if fed.modality in modalities and is_blendable
                ],
            )
    mixes = [place for place, one in enumerate(augment) if isinstance(one, Mixup | CutMix)]
    if len(mixes) > 1:
        raise InputRejected(
            "two_mixes",
            "An item is blended with one other; take either mixup or cutmix, once.",
            field=f"training.augment.{mixes[1]}",
        )


def draw(mix: Mixup | CutMix, keys: Tensor, index: Tensor, *, rows: int) -> Blend:
    """Partners and shares of a batch.

    Args:
        mix: What mixes.
        keys: (batch,) int64, of the items in this view (see `draws.keys`), on the CPU.
        index: (batch,) int64, the items' positions in the source, on the CPU.
        rows: The source's; two or more.

    Returns:
        The blend.
    """
    step = 1 + draws.below(keys, _LANES["partner"], rows - 1)
    quantile = draws.below(keys, _LANES["share"], _QUANTILES)
    return Blend(partner=(index + step) % rows, share=_shares(mix.alpha)[quantile])


def mixup(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    """Both items (batch, …) float32, blended: share * first + (1 - share) * second."""
    weight = share.view(-1, *[1] * (first.ndim - 1))
    return second + weight * (first - second)


def paste(first: Tensor, second: Tensor, *, keys: Tensor, share: Tensor) -> tuple[Tensor, Tensor]:
    """The second item's box in the first: CutMix.

    The box takes about 1 - share of the item: sides of sqrt(1 - share) of an image's, a span of
    1 - share of a series. Its centre is uniform, and what lies outside is cut off.

    Args:
        first: (batch, height, width, channels) or (batch, length, channels).
        second: Of the same shape and dtype.
        keys: As in `draw`, on the CPU.
        share: (batch,) float32 on the CPU, as drawn.

    Returns:
        The items, and the share of the first one in them by exact area, (batch,) float32 on the
        items' device.
    """
    axes = first.shape[1:-1]
    cut = (1 - share.double()) ** (1 / len(axes))
    inside = torch.ones((len(first), *[1] * len(axes)), dtype=torch.bool)
    area = torch.ones(len(first), dtype=torch.int64)
    for axis, (lane, size) in enumerate(zip(("row", "column"), axes, strict=False)):
        length = (cut * size).long()
        start = draws.below(keys, _LANES[lane], size) - length // 2
        stop = (start + length).clamp(max=size)
        start = start.clamp(min=0)
        at = torch.arange(size)
        along = (at >= start.unsqueeze(1)) & (at < stop.unsqueeze(1))
        shape = [len(first), *[1] * len(axes)]
        shape[axis + 1] = size
        inside = inside & along.view(shape)
        area = area * (stop - start)
    kept = 1 - area.double() / math.prod(axes)
    box = inside.unsqueeze(-1).to(first.device, non_blocking=True)
    return torch.where(box, second, first), kept.float().to(first.device, non_blocking=True)


@cache
def _shares(alpha: float) -> Tensor:
    """Equally likely values of Beta(alpha, alpha), (4096,) float32: its quantiles."""
    upper = (np.arange(_QUANTILES // 2) + 0.5) / _QUANTILES
    lower = _lower_quantiles(alpha, upper)
    both = np.concatenate([lower, 1 - lower[::-1]])
    return torch.from_numpy((np.round(both * _FRACTION) / _FRACTION).astype(np.float32))


def _lower_quantiles(alpha: float, at: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Quantiles below 1/2 of a density in proportion to (x (1 - x))^(alpha - 1).

    Below alpha = 1 the density has a pole at 0; in t = x^alpha it has none.
    """
    power = min(alpha, 1.0)
    t = np.linspace(0, 0.5**power, _GRID)
    x = t ** (1 / power)
    logarithm = (alpha - 1) * np.log1p(-x)
    if alpha > 1:
        with np.errstate(divide="ignore"):
            logarithm += (alpha - 1) * np.log(x)
    density = np.exp(logarithm - logarithm.max())
    mass = np.concatenate([[0.0], np.cumsum((density[1:] + density[:-1]) / 2)])
    # Linear in t, as the mass nearly is: x itself may be steep there.
    return np.interp(at, mass / mass[-1] / 2, t) ** (1 / power)


def _items(fed: AnyInput) -> str:
    names = {"image": "images", "sequence": "series", "text": "texts", "tabular": "rows"}
    has_categories = isinstance(fed, TableInput) and not _is_numeric(fed)
    return names[fed.modality] + (" with categories" if has_categories else "")


def _is_numeric(fed: TableInput) -> bool:
    return all(isinstance(column, NumberColumn) for column in fed.columns)
