"""Numbers that are pure functions of counters: the same in any batch and on any device.

splitmix64 (Steele, Lea & Flood 2014) in torch's signed 64-bit integers.
"""

from __future__ import annotations

import torch
from torch import Tensor

# The multipliers of splitmix64, as signed 64-bit integers.
_GOLDEN = 0x9E3779B97F4A7C15 - 2**64
_MIX_1 = 0xBF58476D1CE4E5B9 - 2**64
_MIX_2 = 0x94D049BB133111EB - 2**64
_STREAM = 0x632BE59BD9B4E019  # any odd number; it sets the streams of one key apart


def keys(index: Tensor, *, seed: int, view: int) -> Tensor:
    """A key for each item of a view.

    Args:
        index: (batch,) int64, the items' positions in the train part.
        seed: The view seed.
        view: The view's number.

    Returns:
        (batch,) int64 on the index's device.
    """
    key = torch.full_like(index, seed)
    for word in (torch.full_like(index, view), index):
        key = _mix(key + _GOLDEN) ^ word
    return _mix(key + _GOLDEN)


def below(of: Tensor, stream: int, limit: int) -> Tensor:
    """Uniform integers from 0 to limit - 1, (batch,) int64, one stream of each key.

    Args:
        of: The keys.
        stream: Which of a key's numbers.
        limit: At most 2^32. The bias is limit / 2^31.

    Returns:
        As many as there are keys, on their device.
    """
    bits = _mix(of + _signed((stream + 1) * _STREAM))
    # The upper 31 bits scaled down: no division is needed.
    return (_shift(bits, 33) * limit) >> 31


def _mix(bits: Tensor) -> Tensor:
    bits = (bits ^ _shift(bits, 30)) * _MIX_1
    bits = (bits ^ _shift(bits, 27)) * _MIX_2
    return bits ^ _shift(bits, 31)


def _signed(word: int) -> int:
    """A word of 64 bits as torch's int64 holds it."""
    return (word + 2**63) % 2**64 - 2**63


def _shift(bits: Tensor, by: int) -> Tensor:
    """Logical shift to the right; torch's own keeps the sign."""
    return (bits >> by) & ((1 << (64 - by)) - 1)
