"""Series of numbers: all of one length, with as many channels, in float32."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stillhouse.errors import InputRejected
from stillhouse.spec import SequenceInput
from worker.intake import moments, pictures
from worker.intake.rows import Array, Decoded, Indices, Series
from worker.protocol import IntakeLimits

MAX_LENGTH, MAX_CHANNELS = 1_000_000, 4096  # as `stillhouse.spec.SequenceInput`
_CHUNK_ROWS = 256


def take(
    blocks: Sequence[Series],
    wanted: SequenceInput | None,
    train: Indices,
    work: Path,
    limits: IntakeLimits,
) -> tuple[Decoded, dict[str, Any]]:
    """All series on disk, and their statistics.

    Refused as `InputRejected`: `sequence_lengths_differ`, `sequence_shape`, `not_finite`,
    `input_differs`, `limit_exceeded`.

    Args:
        blocks: the series.
        wanted: the input in the user's words; statistics in it stand.
        train: row numbers of the train part, whose mean and deviation are taken per channel.
        work: where the array lies.
        limits: `decoded_bytes` bounds it.

    Returns:
        The series (n, length, channels) float32, and the dataset's input.
    """
    length, channels = _shape(blocks, wanted)
    count = sum(map(len, blocks))
    array = pictures.scratch(
        work / "series.npy", (count, length, channels), np.float32, limits, what="series"
    )
    at = 0
    for block in blocks:
        for chunk in block.read():
            array[at : at + len(chunk)] = _checked(chunk, (length, channels), at)
            at += len(chunk)

    def chunks() -> Iterator[Array]:
        for start in range(0, len(train), _CHUNK_ROWS):
            yield array[train[start : start + _CHUNK_ROWS]].reshape(-1, channels)

    mean, std = moments.of_columns(chunks)
    found = {"mean": mean.tolist(), "std": std.tolist()}
    said = {} if wanted is None else wanted.model_dump(mode="json", exclude_none=True)
    shape = {"modality": "sequence", "length": length, "channels": channels}
    return Decoded(array), found | said | shape


def of_lists(values: Sequence[object], *, first_row: int) -> Array:
    """A batch (rows, length, channels) from lists of numbers, or from lists of such lists.

    Refused as `InputRejected`: `sequence_invalid`, `sequence_lengths_differ`.

    Args:
        values: a list for each row: `length` numbers, or `length` lists of `channels` numbers.
        first_row: the first one's number, for the error.

    Returns:
        The batch.
    """
    series = [_of_list(value, first_row + at) for at, value in enumerate(values)]
    for at, item in enumerate(series):
        _check_shape(item.shape, series[0].shape, first_row + at)
    return np.stack(series)


def _check_shape(shape: Sequence[int], expected: Sequence[int], row: int) -> None:
    if tuple(shape) != tuple(expected):
        raise InputRejected(
            "sequence_lengths_differ",
            f"Row {row} has length x channels {shape[0]} x {shape[1]}, those before have "
            f"{expected[0]} x {expected[1]}; cut or pad them to one length.",
            field="columns.input",
        )


def _of_list(value: object, row: int) -> Array:
    try:
        array: Array | None = np.asarray(value if isinstance(value, list) else None)
    except (ValueError, OverflowError):  # lists within of several lengths
        array = None
    if array is None or array.dtype.kind not in "iuf" or array.ndim not in (1, 2) or not array.size:
        raise InputRejected(
            "sequence_invalid",
            f"Row {row} is no list of numbers (nor of lists of numbers of one length, a value for "
            "each channel); repair it, or name another column in columns.input.",
            field="columns.input",
        )
    return array.astype(np.float64).reshape(len(array), -1)


def _shape(blocks: Sequence[Series], wanted: SequenceInput | None) -> tuple[int, int]:
    """Length and channels, as the first row has them."""
    first = next((chunk for block in blocks for chunk in block.read()), None)
    if first is None:
        raise InputRejected("dataset_empty", "There are no series; send at least two classes.")
    _, length, channels = first.shape
    if not (0 < length <= MAX_LENGTH and 0 < channels <= MAX_CHANNELS):
        raise InputRejected(
            "sequence_shape",
            f"Series have a length of {length} and {channels} channels; up to {MAX_LENGTH} and "
            f"{MAX_CHANNELS} can be taken in.",
            field="source",
        )
    if wanted is not None and (wanted.length, wanted.channels) != (length, channels):
        raise InputRejected(
            "input_differs",
            f"Series have a length of {length} and {channels} channels; input says "
            f"{wanted.length} and {wanted.channels}. Leave 'input' out, or send other series.",
            field="input",
        )
    return length, channels


def _checked(chunk: Array, shape: tuple[int, int], row: int) -> Array:
    _check_shape(chunk.shape[1:], shape, row)
    with np.errstate(over="ignore"):  # What overflows float32 is found on the next line.
        values = chunk.astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(values).all(axis=(1, 2)))
    if len(bad):
        raise InputRejected(
            "not_finite",
            f"Row {row + bad[0]} has values that are missing, NaN or infinite (in float32); fill "
            "them, or leave the row out.",
            field="columns.input",
        )
    return values
