"""Images to pixels: one size, one number of channels, one dtype for a whole dataset."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from stillhouse.errors import InputRejected
from stillhouse.spec import InputSpec
from worker.intake import images
from worker.intake.rows import Array, Decoded, Encoded, Pixels
from worker.protocol import IntakeLimits

_RESAMPLING = {
    "nearest": Image.Resampling.NEAREST,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
}
_LUMA = np.asarray([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601, as Pillow's "L"
_CHUNK_ROWS = 256


@dataclass(frozen=True, slots=True)
class Plan:
    """What all images become."""

    size: tuple[int, int]
    """Height, width."""
    channels: int
    dtype: np.dtype[Any]
    resampling: Image.Resampling


@dataclass(frozen=True, slots=True)
class _Look:
    """What the headers of some images say."""

    sizes: frozenset[tuple[int, int]]
    channels: int
    dtype: np.dtype[Any]


def take(
    blocks: Sequence[Pixels | Encoded], wanted: InputSpec | None, work: Path, limits: IntakeLimits
) -> tuple[Decoded, dict[str, Any]]:
    """All images on disk, and the dataset's input: size, channels, statistics that were given.

    Refused as `InputRejected`, as `plan` and `decode` do.
    """
    planned = plan(blocks, wanted)
    said = {} if wanted is None else wanted.model_dump(mode="json", exclude_unset=True)
    channels = "gray" if planned.channels == 1 else "rgb"
    pixels = decode(blocks, planned, work, limits)
    return Decoded(pixels), said | {"size": list(planned.size), "channels": channels}


def plan(blocks: Sequence[Pixels | Encoded], wanted: InputSpec | None) -> Plan:
    """Settle size, channels and dtype from the images' headers.

    Args:
        blocks: the images.
        wanted: size, and channels where they were given in so many words.

    Returns:
        What all images become; float32 as soon as some are floating point.

    Raises:
        InputRejected: `image_sizes_differ`, `image_broken`, `image_too_large`, `image_dtype`.
    """
    looks = [_look(block) for block in blocks]
    sizes = sorted(set().union(*(look.sizes for look in looks)))
    if wanted is None and len(sizes) > 1:
        (h0, w0), (h1, w1) = sizes[0], sizes[-1]
        raise InputRejected(
            "image_sizes_differ",
            f"Images have {len(sizes)} sizes, such as {h0}x{w0} and {h1}x{w1}; give input.size, "
            "and they are resized.",
            field="input",
        )
    channels = max(look.channels for look in looks)
    if wanted is not None and "channels" in wanted.model_fields_set:
        channels = wanted.channel_count
    return Plan(
        size=sizes[0] if wanted is None else wanted.size,
        channels=channels,
        dtype=max((look.dtype for look in looks), key=lambda dtype: dtype.itemsize),
        resampling=_RESAMPLING["bilinear" if wanted is None else wanted.interpolation],
    )


def decode(
    blocks: Sequence[Pixels | Encoded], plan: Plan, work: Path, limits: IntakeLimits
) -> Array:
    """All images as one memory-mapped array.

    Refused as `InputRejected`: `image_broken`, `non_finite_pixels`, `limit_exceeded`.

    Args:
        blocks: the images.
        plan: what they become.
        work: where the array lies.
        limits: `decoded_bytes` bounds it.

    Returns:
        (n, height, width, channels) of the plan's dtype.
    """
    shape = (sum(map(len, blocks)), *plan.size, plan.channels)
    decoded = scratch(work / "decoded.npy", shape, plan.dtype, limits)
    at = 0
    for block in blocks:
        for chunk in _decoded(block, plan):
            decoded[at : at + len(chunk)] = chunk
            at += len(chunk)
    return decoded


def scratch(
    path: Path,
    shape: tuple[int, ...],
    dtype: npt.DTypeLike,
    limits: IntakeLimits,
    *,
    what: str = "images",
) -> Array:
    """An array on disk: pages that the kernel may drop, not memory.

    Args:
        path: where it lies.
        shape: its shape.
        dtype: its dtype.
        limits: `decoded_bytes` bounds it.
        what: what the rows are.

    Returns:
        The array, to be filled.

    Raises:
        InputRejected: `limit_exceeded`.
    """
    size = int(np.prod(shape, dtype=object)) * np.dtype(dtype).itemsize
    if size > limits["decoded_bytes"]:
        raise InputRejected(
            "limit_exceeded",
            f"Decoded, the {what} take {size} bytes; {limits['decoded_bytes']} are allowed. "
            f"{'Give a smaller input.size, or' if what == 'images' else 'Send'} fewer rows.",
            field="input" if what == "images" else "source",
        )
    return np.lib.format.open_memmap(path, mode="w+", dtype=np.dtype(dtype), shape=shape)


def _look(block: Pixels | Encoded) -> _Look:
    if isinstance(block, Pixels):
        _, height, width, channels = block.array.shape
        dtype = np.dtype(np.uint8 if block.array.dtype == np.uint8 else np.float32)
        return _Look(frozenset({(height, width)}), channels, dtype)
    sizes, is_colour, faults = set(), False, images.Faults()
    for name, content in zip(block.names, block.read(), strict=True):
        with faults.collecting(name):
            image = images.open(content)
            sizes.add((image.height, image.width))
            is_colour |= image.mode in images.COLOUR_MODES
            image.verify()  # Checksums; the decoder alone lets a cut end pass.
    faults.check()
    return _Look(frozenset(sizes), 3 if is_colour else 1, np.dtype(np.uint8))


def _decoded(block: Pixels | Encoded, plan: Plan) -> Iterator[Array]:
    if isinstance(block, Pixels):
        for start in range(0, len(block), _CHUNK_ROWS):
            yield _converted(block.array[start : start + _CHUNK_ROWS], plan)
        return
    faults = images.Faults()
    for name, content in zip(block.names, block.read(), strict=True):
        with faults.collecting(name):
            image = images.open(content).convert("L" if plan.channels == 1 else "RGB")
            yield _of_dtype(_resized(image, plan)[None], plan)
    faults.check()


def _converted(chunk: Array, plan: Plan) -> Array:
    """A chunk of an array, in the plan's channels, size and dtype."""
    if chunk.dtype != np.uint8:
        with np.errstate(over="ignore"):  # What overflows float32 is found on the next line.
            chunk = chunk.astype(np.float32)
        if not np.all(np.isfinite(chunk)):
            raise InputRejected(
                "non_finite_pixels", "Some pixels are NaN or infinite (in float32); clean them."
            )
    chunk = _with_channels(chunk, plan.channels)
    if chunk.shape[1:3] != plan.size:
        chunk = np.stack([_resized_array(item, plan) for item in chunk])
    return _of_dtype(chunk, plan)


def _with_channels(chunk: Array, channels: int) -> Array:
    if chunk.shape[3] == channels:
        return chunk
    if channels == 3:
        return np.repeat(chunk, 3, axis=3)
    gray = chunk.astype(np.float32) @ _LUMA
    return (gray if chunk.dtype != np.uint8 else np.rint(gray).astype(np.uint8))[..., None]


def _resized_array(item: Array, plan: Plan) -> Array:
    """One (height, width, channels) array, resized channel by channel."""
    planes = [_resized(Image.fromarray(plane), plan) for plane in np.moveaxis(item, 2, 0)]
    return np.concatenate(planes, axis=2)


def _resized(image: Image.Image, plan: Plan) -> Array:
    """(height, width, channels); Pillow's filters grow with the reduction, so none aliases."""
    height, width = plan.size
    if image.size != (width, height):
        image = image.resize((width, height), plan.resampling)
    pixels = np.asarray(image)
    return pixels[..., None] if pixels.ndim == 2 else pixels


def _of_dtype(pixels: Array, plan: Plan) -> Array:
    if pixels.dtype == plan.dtype:
        return pixels
    return pixels.astype(np.float32) / np.float32(255)
