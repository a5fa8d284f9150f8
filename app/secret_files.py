"""Secrets in files: made once, never overwritten, whole or not there."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable
from pathlib import Path


def keep(path: Path, make: Callable[[], str], *, mode: int = 0o600) -> tuple[str, bool]:
    """The file's text, and whether it was made now; of several who make it at once, one wins.

    Raises `OSError` if it can be neither read nor made.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        text = make()
        if _publish(path, text, mode):
            return text, True
    return path.read_text(encoding="utf-8"), False


def _publish(path: Path, text: str, mode: int) -> bool:
    """Put a whole file under its name; false if another has that name already."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        _write(draft, text, mode)
        # A link, since a rename would replace what another process has made meanwhile.
        path.hardlink_to(draft)
    except FileExistsError:
        return False
    finally:
        draft.unlink(missing_ok=True)
    _sync_folder(path.parent)
    return True


def _write(path: Path, text: str, mode: int) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fchmod(file.fileno(), mode)  # whatever the umask says
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
