"""A part's items where the steps can take them: on the device when they fit there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from worker.engine.data.parts import Part

_DEVICE_SHARE = 4
"""Items are kept on a GPU when they take at most this part (1/n) of its free memory."""


class Joined:
    """Several arrays (n, …) one after another, read as one and never copied as a whole."""

    def __init__(self, arrays: Sequence[npt.NDArray[Any]]) -> None:
        self.arrays = arrays
        self.starts = np.cumsum([0, *(len(array) for array in arrays)])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __getitem__(self, rows: slice | npt.NDArray[np.int64]) -> npt.NDArray[Any]:
        if isinstance(rows, slice):
            rows = np.arange(*rows.indices(len(self)))
        which = np.searchsorted(self.starts, rows, side="right") - 1
        found = np.empty((len(rows), *self.arrays[0].shape[1:]), self.arrays[0].dtype)
        for place, array in enumerate(self.arrays):
            mine = which == place
            found[mine] = array[rows[mine] - self.starts[place]]
        return found


@dataclass(frozen=True, slots=True)
class Source:
    """Batches of a part by index, on `device`."""

    part: Part
    """The dataset's own; where sources are joined, its rows come first."""
    items: npt.NDArray[Any] | Joined
    """(n, …): the part's own, or what a feed made of them (tokens)."""
    device: torch.device
    resident: Tensor | None
    """All items on the device, or None: they are gathered from the mapped file."""

    def __len__(self) -> int:
        return len(self.items)

    def take(self, index: Tensor) -> Tensor:
        """Items (batch, …) in their own dtype for positions `index` (batch,).

        The index is on the CPU: to fetch it from a GPU would wait for all that was asked of it.
        """
        if self.resident is not None:
            return self.resident[index.to(self.device, non_blocking=True)]
        chosen = torch.from_numpy(np.asarray(self.items[index.numpy()]))
        if self.device.type != "cuda":
            return chosen.to(self.device)
        return chosen.pin_memory().to(self.device, non_blocking=True)

    def span(self, start: int, stop: int) -> Tensor:
        """Items (stop - start, …) of the positions from `start` up to `stop`."""
        if self.resident is not None:
            return self.resident[start:stop]
        return torch.from_numpy(np.array(self.items[start:stop])).to(self.device)


def place(part: Part, *, device: torch.device, items: npt.NDArray[Any] | None = None) -> Source:
    """Put a part's items onto a GPU if they fit comfortably; elsewhere leave them mapped."""
    given = part.x if items is None else items
    resident = None
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        if given.nbytes * _DEVICE_SHARE <= free:
            resident = torch.from_numpy(np.array(given)).to(device)
    return Source(part=part, items=given, device=device, resident=resident)


def join(sources: Sequence[Source]) -> Source:
    """Several sources of equally shaped items as one, in their order."""
    first = sources[0]
    if len(sources) == 1:
        return first
    resident = [one.resident for one in sources if one.resident is not None]
    arrays = [one.items for one in sources if isinstance(one.items, np.ndarray)]
    return Source(
        part=first.part,
        items=Joined(arrays),
        device=first.device,
        resident=torch.cat(resident) if len(resident) == len(sources) else None,
    )
