"""The keys that a service has before anybody could make one: they lie in files."""

from __future__ import annotations

import logging
from pathlib import Path

from app import secret_files
from core import keys
from core.db import Database
from core.keys import Scope
from core.settings import Settings

log = logging.getLogger("stillhouse")

MONITORING = "monitoring"
"""The tenant of the key for /metrics: it owns nothing, so its `read` shows no user's objects."""


def let_in(settings: Settings) -> None:
    """Let the keys of `admin_key_file` and `metrics_key_file` in; make them if they aren't there.

    Replicas that start together, on one folder, agree on one key.

    Raises `ValueError` or `OSError`, with advice, if a file can't be used.
    """
    database = Database(settings.database)
    try:
        admin = settings.admin_key_file or settings.data_dir / "admin.key"
        _let_in(database, admin, name="admin", scope="admin", tenant="default")
        if settings.metrics_key_file is not None:
            path = settings.metrics_key_file
            _let_in(database, path, name=MONITORING, scope="read", tenant=MONITORING)
    finally:
        database.close()


def _let_in(database: Database, path: Path, *, name: str, scope: Scope, tenant: str) -> None:
    key, is_new = _read(path)
    presented = keys.read(key)
    if presented is None:
        message = f"{path} holds no whole key; delete it, and the next start makes another"
        raise ValueError(message)
    with database.write() as session:
        keys.add(session, key, tenant=tenant, scopes=[scope], name=name)
        is_good = keys.find(session, presented) is not None
    if not is_good:
        log.warning("The key in %s was revoked; delete the file, and the next start makes another.",
                    path)  # fmt: skip
    elif is_new:
        log.info("A key with the scope %s was made; it is in %s", scope, path.resolve())


def _read(path: Path) -> tuple[str, bool]:
    try:
        text, is_new = secret_files.keep(path, lambda: keys.draw() + "\n")
    except OSError as error:
        message = f"the key file {path} can be neither read nor made: {error.strerror}"
        raise OSError(message) from error
    return text.strip(), is_new
