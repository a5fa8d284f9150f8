"""Why a checkpoint doesn't fit its network, tensor by tensor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_SHOWN = 5


def lines(tensors: Mapping[str, Any]) -> list[str]:
    """A sentence for each of the first tensors that don't fit, wrong shapes first.

    Args:
        tensors: `missing` and `extra`, which are names, `shape`, and `total`, as a rejected
            teacher's error has them; the service may have named fewer than `total`.

    Returns:
        At most five sentences, and one that says how many more there are.
    """
    said = list(_sentences(tensors))
    total = max(len(said), int(tensors.get("total") or 0))
    shown = said[:_SHOWN]
    return shown + ([f"and {total - len(shown):,} more"] if total > len(shown) else [])


def _sentences(tensors: Mapping[str, Any]) -> Iterator[str]:
    for one in tensors.get("shape") or ():
        found, expected = _shape(one["found"]), _shape(one["expected"])
        yield f"{one['name']} is {found}, the network has {expected}"
    for name in tensors.get("missing") or ():
        yield f"{name} is missing from the checkpoint"
    for name in tensors.get("extra") or ():
        yield f"{name} is not of the network"


def _shape(sizes: Sequence[int]) -> str:
    return f"({', '.join(map(str, sizes))})"
