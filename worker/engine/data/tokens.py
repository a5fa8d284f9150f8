"""Texts as token ids, by the tokenizer that travels with a network."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer

from stillhouse.errors import InputRejected
from stillhouse.spec import TextInput

FILE = "tokenizer.json"
BEYOND = -1
"""Stands after a text's last token; a network reads its attention mask from it."""


def encoder(
    spec: TextInput, *, files: Mapping[str, str]
) -> Callable[[list[str]], npt.NDArray[np.int32]]:
    """A function from texts to ids (texts, max_length) int32, `BEYOND` after each text's end.

    Args:
        spec: The input; its tokenizer names the files.
        files: Where the files lie, by SHA-256.

    Returns:
        The function; a tokenizer that isn't there is refused as `tokenizer_missing`.
    """
    tokenizer = _open(spec, files=files)
    tokenizer.no_padding()
    tokenizer.enable_truncation(spec.max_length)

    def encode(texts: list[str]) -> npt.NDArray[np.int32]:
        ids = np.full((len(texts), spec.max_length), BEYOND, np.int32)
        for row, found in enumerate(tokenizer.encode_batch(texts)):
            ids[row, : len(found.ids)] = found.ids
        return ids

    return encode


def highest(spec: TextInput, *, files: Mapping[str, str]) -> int:
    """The largest id that an input's tokenizer may give; refused as in `encoder`."""
    return max(_open(spec, files=files).get_vocab(with_added_tokens=True).values())


def _open(spec: TextInput, *, files: Mapping[str, str]) -> Tokenizer:
    listed = (spec.tokenizer or {}).get(FILE)
    if listed is None or listed not in files:
        raise InputRejected(
            "tokenizer_missing",
            f"A text network needs its tokenizer; send {FILE} with it.",
            field="input.tokenizer",
        )
    return Tokenizer.from_file(files[listed])
