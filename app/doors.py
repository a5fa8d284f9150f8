"""Who may come in: keys are read, remembered for a moment, and wrong ones counted.

A key costs one look-up by its id every few seconds; between them it's answered from memory, so
that a request isn't slower for its key. A revocation is obeyed at once by the process that made
it, and by others when they look again: after `REMEMBERED_SECONDS` at most.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import math
import time
from dataclasses import dataclass

from fastapi.concurrency import run_in_threadpool
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from app.patience import Patience
from core import keys
from core.db import Database
from core.keys import Presented, Scope
from stillhouse.errors import ScopeMissing, TooManyAttempts, Unauthorized, Unavailable

log = logging.getLogger(__name__)

REMEMBERED_SECONDS = 4.0
MAX_REMEMBERED = 1024
PATIENCE_SECONDS = 2.0
THREADS = 8
_BROKEN = "The key is not whole: copy it again, from its first letter to its last."
_UNKNOWN = "The key is unknown here, or it was revoked; ask whoever runs the service for another."
WINDOW_SECONDS = 60.0
MAX_WRONG = 30  # of one address in a window
MAX_ADDRESSES = 4096


@dataclass(frozen=True, slots=True)
class Caller:
    """Whose request it is, and what it may do."""

    tenant: str
    scopes: tuple[Scope, ...]
    key: str | None = None
    """The key's id; None where no keys are asked for."""

    def require(self, scope: Scope) -> None:
        """Go on, or raise `ScopeMissing`."""
        if not keys.allows(self.scopes, scope):
            held = ", ".join(self.scopes)
            raise ScopeMissing(f"This takes a key with the scope '{scope}'; yours has: {held}.")


ANYBODY = Caller(tenant="default", scopes=("admin",))


@dataclass(frozen=True, slots=True)
class _Known:
    caller: Caller
    sha256: str
    is_stale_at: float


class Doors:
    """The keys that this process has seen lately, and where wrong ones came from."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: dict[str, _Known] = {}
        self._revoked: set[str] = set()
        self._noted: dict[str, float] = {}
        self._noting: set[asyncio.Task[None]] = set()
        self._wrong: dict[str, tuple[float, int]] = {}
        self._patience = Patience(seconds=PATIENCE_SECONDS, threads=THREADS)

    async def admit(self, text: str | None, address: str) -> Caller:
        """Who shows this key.

        Raises `Unauthorized` if the key isn't good, the same whether its id exists or not;
        `TooManyAttempts` if many from this address weren't; `Unavailable` or `DBAPIError` if
        nobody knows, since the database doesn't answer.
        """
        if text is None:
            raise Unauthorized
        presented = keys.read(text)
        if presented is None:
            raise self._refusal(address, _BROKEN)
        known = self._remembered(presented) or await self._look_soon(presented)
        if known is None or presented.id in self._revoked:
            raise self._refusal(address, _UNKNOWN)
        if self._must_note(presented.id):
            noting = asyncio.create_task(run_in_threadpool(self._note_use, presented.id))
            self._noting.add(noting)  # the loop itself holds a task only weakly
            noting.add_done_callback(self._noting.discard)
        return known.caller

    def shut(self, key_id: str) -> None:
        """A key was revoked by this process: it is good no longer, whatever was remembered."""
        self._revoked.add(key_id)

    async def close(self) -> None:
        """Wait until what is to be written of the keys' use is written."""
        await asyncio.gather(*self._noting)

    def _must_note(self, key_id: str) -> bool:
        now = time.monotonic()
        if now - self._noted.get(key_id, -math.inf) < keys.USE_SECONDS:
            return False
        if len(self._noted) >= MAX_REMEMBERED:
            self._noted.clear()
        self._noted[key_id] = now
        return True

    def _note_use(self, key_id: str) -> None:
        try:
            with self._database.write() as session:
                keys.note_use(session, key_id)
        except DBAPIError as error:
            log.warning("the use of %s was not written: %s", key_id, error.orig)

    def _remembered(self, presented: Presented) -> _Known | None:
        known = self._last_known(presented)
        return known if known and known.is_stale_at >= time.monotonic() else None

    def _last_known(self, presented: Presented) -> _Known | None:
        known = self._known.get(presented.id)
        is_same = known is not None and hmac.compare_digest(known.sha256, presented.sha256)
        return known if is_same else None

    async def _look_soon(self, presented: Presented) -> _Known | None:
        try:
            return await self._patience.ask(lambda: self._look(presented))
        except (DBAPIError, PoolTimeout, TimeoutError) as error:
            # Who was let in before may still ask what doesn't need a database: how it is.
            known = self._last_known(presented)
            if known is not None:
                return known
            if isinstance(error, TimeoutError):
                raise Unavailable("The database doesn't answer; try again.") from error
            raise

    def _look(self, presented: Presented) -> _Known | None:
        now = time.monotonic()
        with self._database.read() as session:
            row = keys.find(session, presented)
        if row is None:
            if self._last_known(presented):
                del self._known[presented.id]  # revoked: not even when the database is away
            return None
        if len(self._known) >= MAX_REMEMBERED:
            self._known.clear()
        caller = Caller(tenant=row.tenant, scopes=tuple(row.scopes), key=row.id)
        known = _Known(caller, presented.sha256, now + REMEMBERED_SECONDS)
        self._known[row.id] = known
        return known

    def _refusal(self, address: str, detail: str) -> Unauthorized | TooManyAttempts:
        now = time.monotonic()
        until, count = self._wrong.get(address, (0.0, 0))
        if until < now:
            until, count = now + WINDOW_SECONDS, 0
        if address not in self._wrong and len(self._wrong) >= MAX_ADDRESSES:
            self._wrong.pop(next(iter(self._wrong)))
        self._wrong[address] = (until, count + 1)
        if count < MAX_WRONG:
            return Unauthorized(detail)
        return TooManyAttempts(retry_after=math.ceil(until - now))
