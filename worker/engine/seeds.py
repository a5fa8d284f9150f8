"""Generator seeds derived from a run's seed, so that no generator's state is ever stored."""

from __future__ import annotations

import hashlib


def derive(seed: int, purpose: str, number: int = 0) -> int:
    """63 bits that depend on all three and on nothing else; the same in every arm of a job."""
    digest = hashlib.sha256(f"{seed}:{purpose}:{number}".encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1
