"""Ids: a prefix, 10 characters of milliseconds, 16 of chance; they sort by creation."""

from __future__ import annotations

import random
import secrets
import threading
import time
from typing import Literal

Prefix = Literal["tch", "ds", "job", "run", "stu", "key", "req", "wrk"]

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_lock = threading.Lock()
_last = (0, 0)
# An id is no secret: it opens nothing. Asking the kernel for each would make threads trade places.
_chance = random.Random(secrets.randbits(256))  # noqa: S311


def new(prefix: Prefix) -> str:
    """A fresh id. Two ids of one process are in the order of their making."""
    global _last  # noqa: PLW0603  monotonic within a millisecond
    with _lock:
        now = max(time.time_ns() // 1_000_000, _last[0])
        chance = _last[1] + 1 if now == _last[0] else _chance.getrandbits(79)
        _last = (now, chance)
    return f"{prefix}_{_encode(now, 10)}{_encode(chance, 16)}"


def _encode(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, rest = divmod(number, 32)
        digits.append(_ALPHABET[rest])
    return "".join(reversed(digits))
