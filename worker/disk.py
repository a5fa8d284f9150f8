"""A full disk, however it is said: it's nobody's bytes and nobody's spec that are wrong."""

from __future__ import annotations

import errno

CODE = "storage_full"
DETAIL = "The disk is full; it is tried again when half a minute has passed."
WAIT_SECONDS = 30.0


def is_full(error: BaseException) -> bool:
    """Whether an error, or what it was raised from, is that of a full disk."""
    found: BaseException | None = error
    while found is not None:
        if isinstance(found, OSError) and found.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        # safetensors writes in Rust, and wraps the number in words of its own.
        if "(os error 28)" in str(found) or "No space left on device" in str(found):
            return True
        found = found.__cause__ or found.__context__
    return False
