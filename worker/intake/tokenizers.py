"""A tokenizer that travels with a text network: parsed here, and written anew from what was read.

Its own library is the only reader. It runs no code of the file's; a file that breaks it (a panic
in Rust is none of Python's exceptions) is refused like one that it refuses.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from stillhouse.errors import InputRejected
from stillhouse.spec import AnyInput, NetworkSpec, TextInput
from worker.intake import hub, publish
from worker.protocol import File

FILE = "tokenizer.json"
BESIDE = ("tokenizer_config.json", "special_tokens_map.json")
MAX_BYTES = 64 << 20
DEFAULT_LENGTH = 256
_PANIC = "PanicException"
_PROBES = ("", "a", "The quick brown fox, 42 times!", "naïve 分词 🦊\u200d\u0301", "x" * 1000)


@dataclass(frozen=True, slots=True)
class Taken:
    """A tokenizer that was taken in."""

    files: list[File]
    highest: int
    """The largest id that it may give."""
    longest: int | None
    """Tokens that it says a network takes; None: it doesn't say."""


def take(sources: Mapping[str, Path], work: Path) -> Taken:
    """Take in a tokenizer.

    Args:
        sources: `FILE`, and what of `BESIDE` there is, by name.
        work: Where to write them.

    Returns:
        Its files, and what it says of itself.

    Raises:
        InputRejected: `tokenizer_required`, `tokenizer_invalid` or `config_refused`.
    """
    if FILE not in sources:
        raise InputRejected(
            "tokenizer_required",
            f"A text network needs its {FILE}; write it with "
            "AutoTokenizer.from_pretrained(…).save_pretrained(folder).",
            field="weights",
        )
    tokenizer = _load(sources[FILE])
    beside = {name: _read(name, sources[name]) for name in BESIDE if name in sources}
    written = [_write(work / FILE, tokenizer.to_str())]
    written += [_write(work / name, json.dumps(found)) for name, found in beside.items()]
    longest = beside.get(BESIDE[0], {}).get("model_max_length")
    return Taken(
        files=written,
        highest=max(tokenizer.get_vocab(with_added_tokens=True).values()),
        longest=longest if type(longest) is int and longest > 0 else None,
    )


def input_of(tokenizer: Taken, given: AnyInput | None, network: NetworkSpec) -> TextInput:
    """What a network is fed: at most so many tokens as it, and its tokenizer, say that it takes.

    Args:
        tokenizer: Its tokenizer.
        given: What the user said.
        network: The network, whose options may say how many positions it has.

    Returns:
        The input, whose tokenizer is named when its files are published.

    Raises:
        InputRejected: `modality_differs`, or `input_invalid` where `max_length` is beyond that.
    """
    if given is not None and not isinstance(given, TextInput):
        raise InputRejected(
            "modality_differs",
            f"The network reads text, and 'input' says {given.modality}; leave it out.",
            field="input.modality",
        )
    positions = network.options.get("max_position_embeddings")
    bounds = [bound for bound in (tokenizer.longest, positions) if isinstance(bound, int)]
    if given is None or "max_length" not in given.model_fields_set:
        return TextInput(modality="text", max_length=min(DEFAULT_LENGTH, *bounds))
    if given.max_length > min(bounds, default=given.max_length):
        raise InputRejected(
            "input_invalid",
            f"The network takes {min(bounds)} tokens; make max_length no larger.",
            field="input.max_length",
        )
    return TextInput(modality="text", max_length=given.max_length)


def _load(path: Path) -> Tokenizer:
    if path.stat().st_size > MAX_BYTES:
        raise _invalid(FILE, f"it is larger than {MAX_BYTES} bytes")
    try:
        tokenizer = Tokenizer.from_file(str(path))
        tokenizer.no_padding()
        tokenizer.encode_batch(list(_PROBES))
        is_empty = not tokenizer.get_vocab_size(with_added_tokens=True)
    except Exception as error:  # the library raises it bare
        raise _invalid(FILE, str(error)[:200]) from error
    except BaseException as error:
        if type(error).__name__ != _PANIC:
            raise
        raise _invalid(FILE, "its library can't read it") from error
    if is_empty:
        raise _invalid(FILE, "it knows no token")
    return tokenizer


def _read(name: str, path: Path) -> dict[str, Any]:
    try:
        found = hub.parse(path)
    except ValueError as error:
        raise _invalid(name, str(error)) from error
    refused = hub.code_in(found)
    if refused:
        raise InputRejected(
            "config_refused", f"{name} names code to be run ({', '.join(refused)}); remove it."
        )
    return found


def _write(path: Path, text: str) -> File:
    path.write_text(text, encoding="utf-8")
    return publish.file(path)


def _invalid(name: str, why: str) -> InputRejected:
    return InputRejected(
        "tokenizer_invalid",
        f"{name} can't be used: {why.rstrip('.')}; save the tokenizer again with save_pretrained.",
        field="weights",
    )
