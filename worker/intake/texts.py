"""Texts as UTF-8: one after another in one array, and where each one ends."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from stillhouse.errors import InputRejected
from stillhouse.spec import TextInput
from worker.intake.rows import Array, Decoded, Texts
from worker.protocol import IntakeLimits

MAX_TEXT_BYTES = 1 << 20  # far beyond what any network reads of one text


def take(
    blocks: Sequence[Texts], wanted: TextInput | None, work: Path, limits: IntakeLimits
) -> tuple[Decoded, dict[str, Any]]:
    """All texts, flat on disk.

    Args:
        blocks: the texts; an empty one is a text, too.
        wanted: the input in the user's words.
        work: where the bytes lie.
        limits: `decoded_bytes` bounds them.

    Returns:
        The texts, and the dataset's input.

    Raises:
        InputRejected: `text_missing`, `text_invalid`, `text_too_long`, `limit_exceeded` or
            `tokenizer_of_a_dataset`.
    """
    said = {} if wanted is None else wanted.model_dump(mode="json", exclude_unset=True)
    if said.get("tokenizer") is not None:
        raise InputRejected(
            "tokenizer_of_a_dataset",
            "A dataset holds texts, not tokens; name the tokenizer in the teacher's or the "
            "student's input.",
            field="input.tokenizer",
        )
    path = work / "texts.bin"
    ends = np.fromiter(_ends(blocks, path, limits), np.int64)
    return Decoded(_mapped(path), ends), {"modality": "text"} | said


def _ends(blocks: Sequence[Texts], path: Path, limits: IntakeLimits) -> Iterator[int]:
    end, row = 0, 0
    with path.open("wb") as file:
        for block in blocks:
            for batch in block.read():
                for text in batch:
                    content = _encoded(text, row)
                    end, row = end + len(content), row + 1
                    if end > limits["decoded_bytes"]:
                        raise InputRejected(
                            "limit_exceeded",
                            f"The texts take more than {limits['decoded_bytes']} bytes; send "
                            "fewer, or shorter ones.",
                            field="source",
                        )
                    file.write(content)
                    yield end


def _encoded(text: str | None, row: int) -> bytes:
    if text is None:
        raise InputRejected(
            "text_missing",
            f"Row {row} has no text; give it one (an empty text will do), or leave the row out.",
            field="columns.input",
        )
    try:
        content = text.encode()
    except UnicodeEncodeError as error:
        raise InputRejected(
            "text_invalid",
            f"Row {row} holds half of a surrogate pair, which is no character; repair it.",
            field="columns.input",
        ) from error
    if len(content) > MAX_TEXT_BYTES:
        raise InputRejected(
            "text_too_long",
            f"Row {row} has {len(content)} bytes; a text has at most {MAX_TEXT_BYTES}. Cut it.",
            field="columns.input",
        )
    return content


def _mapped(path: Path) -> Array:
    if not path.stat().st_size:  # An empty file can't be mapped.
        return np.empty(0, np.uint8)
    return np.memmap(path, np.uint8, mode="r")
