"""JSON pointers (RFC 6901): places in a document, and what two documents differ in."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

Tokens = tuple[str, ...]


def parse(pointer: str) -> Tokens:
    """A pointer's tokens: `/a~1b/0` is `("a/b", "0")`."""
    return tuple(token.replace("~1", "/").replace("~0", "~") for token in pointer.split("/")[1:])


def make(tokens: Tokens) -> str:
    """The pointer of some tokens."""
    return "".join("/" + token.replace("~", "~0").replace("/", "~1") for token in tokens)


def put(document: Any, tokens: Tokens, value: Any, *, defaults: Any = None) -> None:
    """Put a value into a document, in place.

    Args:
        document: Objects and lists, as JSON has them.
        tokens: Where; not empty. The last one may be new to an object.
        value: What stands there then; a copy is taken.
        defaults: A document that is copied from where the first one has nothing.

    Raises:
        LookupError: Neither document has what the value would stand in.
    """
    here, known = document, defaults
    for token in tokens[:-1]:
        if isinstance(here, dict) and token not in here and isinstance(known, Mapping):
            here[token] = deepcopy(known[token])
        here, known = _step(here, token), _known(known, token)
    last = tokens[-1]
    if isinstance(here, dict):
        here[last] = deepcopy(value)
    elif isinstance(here, list):
        here[_index(here, last)] = deepcopy(value)
    else:
        raise LookupError(last)  # noqa: TRY004 - nothing is there, as for a key that isn't


def difference(one: Any, other: Any) -> dict[str, Any]:
    """What must be put into one document so that it becomes the other, by pointer.

    Objects are told apart key by key where both have the same ones, lists item by item where
    both are as long; otherwise they are replaced as a whole.
    """
    return {make(tokens): value for tokens, value in _differences(one, other, ())}


def patched(document: Any, changes: Mapping[str, Any]) -> Any:
    """A copy of a document with values put in, by pointer."""
    copy = deepcopy(document)
    for pointer, value in changes.items():
        put(copy, parse(pointer), value)
    return copy


def _differences(one: Any, other: Any, at: Tokens) -> Iterator[tuple[Tokens, Any]]:
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        for key, value in other.items():
            yield from _differences(one[key], value, (*at, key))
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for place, (mine, theirs) in enumerate(zip(one, other, strict=True)):
            yield from _differences(mine, theirs, (*at, str(place)))
    elif type(one) is not type(other) or one != other:
        yield at, other


def _step(here: Any, token: str) -> Any:
    if isinstance(here, list):
        return here[_index(here, token)]
    if isinstance(here, dict):
        return here[token]
    raise LookupError(token)


def _known(known: Any, token: str) -> Any:
    try:
        return _step(known, token)
    except LookupError:
        return None


def _index(items: list[Any], token: str) -> int:
    if not token.isdecimal() or int(token) >= len(items):
        raise LookupError(token)
    return int(token)
