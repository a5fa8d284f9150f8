"""A storage that is full or away, however it's said: nobody's bytes and nobody's spec are wrong."""

from __future__ import annotations

import errno

from stillhouse.errors import StorageFull, Unavailable

CODE = StorageFull.code
DETAIL = "The disk is full; it is tried again when half a minute has passed."
WAITED_FOR = (StorageFull, Unavailable)
WAIT_SECONDS = 30.0


def passes(code: object) -> bool:
    """Whether a run that ends with this error is tried again instead."""
    return code in {kind.code for kind in WAITED_FOR}


def reason(code: object, detail: str) -> str:
    """Why such a run goes back to the queue."""
    if code == CODE:
        return DETAIL
    return f"{detail.rstrip('.')}; the run is tried again when half a minute has passed."


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
