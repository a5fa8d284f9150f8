"""What each network is fed, from a part's items: one class for each modality.

A feed is the only place that knows the modality; the loop, the predictions and the measurements
see batches of items go in and one tensor come out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, assert_never

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from stillhouse.spec import AnyInput, InputSpec, SequenceInput, TableInput, TextInput
from worker.engine.data import source, tokens
from worker.engine.data.parts import Part
from worker.engine.data.source import Source

_LUMINANCE = (0.299, 0.587, 0.114)  # ITU-R BT.601, as PIL's mode "L"
_CPU = torch.device("cpu")
_TEXTS = 4096
"""Texts in one call of a tokenizer."""
_MODES = {"nearest": "nearest-exact", "bilinear": "bilinear", "bicubic": "bicubic"}


class Feed(Protocol):
    """How one network wants its input."""

    def place(self, part: Part, *, device: torch.device) -> Source:
        """A part's items, ready to be taken in batches."""

    def __call__(self, items: Tensor) -> Tensor:
        """A network's input from a batch of items."""


@dataclass(frozen=True, slots=True)
class ImageFeed:
    """Channels, size and normalisation, in that order."""

    size: tuple[int, int]
    """Height, width."""
    channels: int
    mean: Tensor
    """(1, channels or 1, 1, 1), on the [0, 1] scale."""
    std: Tensor
    interpolation: str

    def place(self, part: Part, *, device: torch.device) -> Source:
        """The images as they are."""
        return source.place(part, device=device)

    def __call__(self, items: Tensor) -> Tensor:
        """A network's input (batch, channels, height, width) from images (batch, h, w, c)."""
        pixels = _match_channels(to_pixels(items), channels=self.channels)
        if pixels.shape[-2:] != self.size:
            pixels = _resize(pixels, size=self.size, mode=_MODES[self.interpolation])
        return (pixels - self.mean).div_(self.std)


@dataclass(frozen=True, slots=True)
class SequenceFeed:
    """Normalised series, the channels first."""

    length: int
    channels: int
    mean: Tensor
    """(1, channels or 1, 1)."""
    std: Tensor

    def place(self, part: Part, *, device: torch.device) -> Source:
        """The series as they are."""
        return source.place(part, device=device)

    def __call__(self, items: Tensor) -> Tensor:
        """A network's input (batch, channels, length) from series (batch, length, channels)."""
        return (items.transpose(1, 2) - self.mean).div_(self.std)


@dataclass(frozen=True, slots=True)
class TableFeed:
    """Rows as they are: the network itself standardises, and fills what is missing."""

    def place(self, part: Part, *, device: torch.device) -> Source:
        """The rows as they are."""
        return source.place(part, device=device)

    def __call__(self, items: Tensor) -> Tensor:
        """(batch, columns) float32."""
        return items


@dataclass(frozen=True, slots=True)
class TextFeed:
    """Texts as tokens of one tokenizer."""

    max_length: int
    encode: Callable[[list[str]], npt.NDArray[np.int32]]
    """Texts -> token ids (texts, max_length), -1 beyond each text's end."""

    def place(self, part: Part, *, device: torch.device) -> Source:
        """The part's texts as tokens, (n, max_length) int32."""
        chunks = [
            self.encode(part.texts(start, min(start + _TEXTS, len(part))))
            for start in range(0, len(part), _TEXTS)
        ]
        none = np.empty((0, self.max_length), np.int32)
        return source.place(part, device=device, items=np.concatenate([none, *chunks]))

    def __call__(self, items: Tensor) -> Tensor:
        """(batch, max_length) int64, -1 beyond each text's end."""
        return items.to(torch.int64)


def make(spec: AnyInput, *, device: torch.device, files: Mapping[str, str] | None = None) -> Feed:
    """The feed that an input specification describes, with its statistics on `device`.

    Args:
        spec: The input, with nothing left to choose.
        device: Where batches are wanted.
        files: Text only: where the tokenizer's files lie, by SHA-256.

    Returns:
        The feed.
    """
    match spec:
        case InputSpec():
            return ImageFeed(
                size=spec.size,
                channels=spec.channel_count,
                mean=_per_channel(spec.mean or (0.0,), axes=4, device=device),
                std=_per_channel(spec.std or (1.0,), axes=4, device=device),
                interpolation=spec.interpolation,
            )
        case SequenceInput():
            return SequenceFeed(
                length=spec.length,
                channels=spec.channels,
                mean=_per_channel(spec.mean or (0.0,), axes=3, device=device),
                std=_per_channel(spec.std or (1.0,), axes=3, device=device),
            )
        case TableInput():
            return TableFeed()
        case TextInput():
            return TextFeed(
                max_length=spec.max_length,
                encode=tokens.encoder(spec, files=files or {}),
            )
        case _:
            assert_never(spec)


def example(spec: AnyInput, count: int, *, device: torch.device = _CPU) -> Tensor:
    """A network's input for so many blank items: nothing but the specification is needed."""
    match spec:
        case InputSpec():
            return torch.zeros(count, spec.channel_count, *spec.size, device=device)
        case SequenceInput():
            return torch.zeros(count, spec.channels, spec.length, device=device)
        case TableInput():
            return torch.zeros(count, len(spec.columns), device=device)
        case TextInput():
            return torch.zeros(count, spec.max_length, dtype=torch.int64, device=device)
        case _:
            assert_never(spec)


def to_pixels(images: Tensor) -> Tensor:
    """Float32 (batch, c, h, w): uint8 divided by 255, float as it is."""
    pixels = images.permute(0, 3, 1, 2).to(
        torch.float32, memory_format=torch.contiguous_format, copy=True
    )
    return pixels.div_(255.0) if images.dtype == torch.uint8 else pixels


def _per_channel(values: tuple[float, ...], *, axes: int, device: torch.device) -> Tensor:
    shape = (1, -1) + (1,) * (axes - 2)
    return torch.tensor(values, dtype=torch.float32, device=device).view(shape)


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
