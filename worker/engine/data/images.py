"""A part's images where the steps can take them: on the device when they fit there."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from worker.engine.data.parts import Part

_DEVICE_SHARE = 4
"""Images are kept on a GPU when they take at most this part (1/n) of its free memory."""


@dataclass(frozen=True, slots=True)
class Images:
    """Batches of a part by index, on `device`."""

    part: Part
    device: torch.device
    resident: Tensor | None
    """All images on the device, or None: they are gathered from the mapped file."""

    def take(self, index: Tensor) -> Tensor:
        """Images (batch, h, w, c) in the part's own dtype for positions `index` (batch,).

        The index is on the CPU: to fetch it from a GPU would wait for all that was asked of it.
        """
        if self.resident is not None:
            return self.resident[index.to(self.device, non_blocking=True)]
        chosen = torch.from_numpy(np.asarray(self.part.images[index.numpy()]))
        if self.device.type != "cuda":
            return chosen.to(self.device)
        return chosen.pin_memory().to(self.device, non_blocking=True)

    def span(self, start: int, stop: int) -> Tensor:
        """Images (stop - start, h, w, c) of the positions from `start` up to `stop`."""
        if self.resident is not None:
            return self.resident[start:stop]
        return torch.from_numpy(np.array(self.part.images[start:stop])).to(self.device)


def place(part: Part, *, device: torch.device) -> Images:
    """Put a part's images onto a GPU if they fit comfortably; elsewhere leave them mapped."""
    resident = None
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        if part.images.nbytes * _DEVICE_SHARE <= free:
            resident = torch.from_numpy(np.array(part.images)).to(device)
    return Images(part=part, device=device, resident=resident)
