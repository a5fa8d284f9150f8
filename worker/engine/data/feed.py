"""From pixels to what a network is fed: channels, size and normalisation, in that order."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from stillhouse.spec import InputSpec

_LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601, as PIL's mode "L"
_MODES = {"nearest": "nearest-exact", "bilinear": "bilinear", "bicubic": "bicubic"}


@dataclass(frozen=True, slots=True)
class Feed:
    """How one network wants its input."""

    size: tuple[int, int]
    """Height, width."""
    channels: int
    mean: Tensor
    """(1, channels or 1, 1, 1), on the [0, 1] scale."""
    std: Tensor
    interpolation: str

    def __call__(self, images: Tensor) -> Tensor:
        """A network's input (batch, channels, height, width) from images (batch, h, w, c)."""
        pixels = _match_channels(to_pixels(images), channels=self.channels)
        if pixels.shape[-2:] != self.size:
            pixels = _resize(pixels, size=self.size, mode=_MODES[self.interpolation])
        return (pixels - self.mean).div_(self.std)


def make(spec: InputSpec, *, device: torch.device) -> Feed:
    """The feed that an input specification describes, with its statistics on `device`."""
    return Feed(
        size=spec.size,
        channels=spec.channel_count,
        mean=_per_channel(spec.mean or (0.0,), device=device),
        std=_per_channel(spec.std or (1.0,), device=device),
        interpolation=spec.interpolation,
    )


def to_pixels(images: Tensor) -> Tensor:
    """Float32 (batch, c, h, w): uint8 divided by 255, float as it is."""
    pixels = images.permute(0, 3, 1, 2).to(
        torch.float32, memory_format=torch.contiguous_format, copy=True
    )
    return pixels.div_(255.0) if images.dtype == torch.uint8 else pixels


def _per_channel(values: tuple[float, ...], *, device: torch.device) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device=device).view(1, -1, 1, 1)


def _match_channels(pixels: Tensor, *, channels: int) -> Tensor:
    given = pixels.shape[1]
    if given == channels:
        return pixels
    if given == 1:
        return pixels.expand(-1, channels, -1, -1)
    weights = torch.tensor(_LUMINANCE, dtype=pixels.dtype, device=pixels.device)
    return (pixels * weights.view(1, 3, 1, 1)).sum(dim=1, keepdim=True)


def _resize(pixels: Tensor, *, size: tuple[int, int], mode: str) -> Tensor:
    if mode == "nearest-exact":
        return F.interpolate(pixels, size=size, mode=mode)
    return F.interpolate(pixels, size=size, mode=mode, antialias=True, align_corners=False)
