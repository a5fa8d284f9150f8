"""Keys that open the API: how one looks, and which are good.

    sth_<26 characters of its id>_<43 of 256 random bits>_<6 of a checksum>

A key is stored as its SHA-256: 256 bits of chance need no slow hash. The checksum tells a typo
from a revoked key without a database, and the prefix lets scanners find a key that leaked.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
import zlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Literal

from sqlalchemy import Text, cast, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from core import ids
from core.tables import Key
from stillhouse.errors import LastAdminKey, NotFound

Scope = Literal["read", "submit", "admin"]
SCOPES: tuple[Scope, ...] = ("read", "submit", "admin")
"""Each implies those before it."""
USE_SECONDS = 60.0  # how old `last_used_at` may be: a write for each request would be its price

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SHAPE = re.compile(r"(sth_([0-9a-z]{26})_[0-9A-Za-z]{43})_([0-9A-Za-z]{6})")
_NOBODY = "0" * 64


@dataclass(frozen=True, slots=True)
class Presented:
    """A whole key that somebody shows: nobody has said yet that it's good."""

    id: str
    sha256: str


def draw() -> str:
    """A new key, which opens nothing until it is added."""
    start = f"sth_{ids.new('key').removeprefix('key_')}_{_base62(secrets.randbits(256), 43)}"
    return f"{start}_{_checksum(start)}"


def read(text: str) -> Presented | None:
    """What a key says of itself; None if it isn't one, or not all of it."""
    found = _SHAPE.fullmatch(text)
    if found is None or found.group(3) != _checksum(found.group(1)):
        return None
    return Presented(f"key_{found.group(2)}", hashlib.sha256(text.encode()).hexdigest())


def allows(scopes: Collection[str], wanted: Scope) -> bool:
    """Whether one of the scopes is the wanted one, or implies it."""
    return any(scope in scopes for scope in SCOPES[SCOPES.index(wanted) :])


def find(session: Session, presented: Presented) -> Key | None:
    """The row of a key that is good; one look-up by its id."""
    row = session.get(Key, presented.id)
    # Compared for an unknown id, too: how long it takes must not say which ids there are.
    is_right = hmac.compare_digest(_NOBODY if row is None else row.sha256, presented.sha256)
    return row if row is not None and is_right and row.revoked_at is None else None


def add(
    session: Session,
    key: str,
    *,
    tenant: str,
    scopes: list[Scope],
    name: str | None = None,
    labels: dict[str, str] | None = None,
    created_by: str | None = None,
) -> str:
    """Let a key in that `draw` made; its id. One that is there already stays as it is.

    Raises `ValueError` if it isn't a whole key.
    """
    presented = read(key)
    if presented is None:
        message = "this is no whole key: its checksum is wrong"
        raise ValueError(message)
    row = {
        "id": presented.id,
        "sha256": presented.sha256,
        "tenant": tenant,
        "scopes": [scope for scope in SCOPES if scope in scopes],
        "name": name,
        "labels": labels or {},
        "created_by": created_by,
    }
    insert: Any = sqlite.insert if _is_sqlite(session) else postgresql.insert
    session.execute(insert(Key).values(**row).on_conflict_do_nothing(index_elements=["id"]))
    return presented.id


def get(session: Session, key_id: str) -> Key:
    """A key's row.

    Raises `NotFound` if there is none.
    """
    found = session.get(Key, key_id)
    if found is None:
        raise NotFound(f"There is no key '{key_id[:64]}'.")
    return found


def revoke(session: Session, key_id: str) -> None:
    """Shut a key out, for good; revoked again it stays as it is.

    Raises `NotFound` if there is none; `LastAdminKey` if nobody could make keys any more.
    """
    # Locked before one is read: of two who revoke each other's key, the second must see the first.
    admins = select(Key.id).where(Key.revoked_at.is_(None), _is_admin()).order_by(Key.id)
    usable = list(session.scalars(admins.with_for_update()))
    row = get(session, key_id)
    if usable == [key_id]:
        raise LastAdminKey
    if row.revoked_at is None:
        row.revoked_at = time.time()
        row.version += 1


def note_use(session: Session, key_id: str) -> None:
    """Write that a key was used just now, unless that was written a moment ago."""
    now = time.time()
    stale = Key.last_used_at.is_(None) | (Key.last_used_at < now - USE_SECONDS)
    written = update(Key).where(Key.id == key_id, stale)
    session.execute(written.values(last_used_at=now, version=Key.version + 1))


def _is_admin() -> Any:
    return cast(Key.scopes, Text).contains('"admin"')


def _is_sqlite(session: Session) -> bool:
    return session.get_bind().dialect.name == "sqlite"


def _checksum(text: str) -> str:
    return _base62(zlib.crc32(text.encode()), 6)


def _base62(number: int, length: int) -> str:
    digits = []
    for _ in range(length):
        number, rest = divmod(number, 62)
        digits.append(_ALPHABET[rest])
    return "".join(reversed(digits))
