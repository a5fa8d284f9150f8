"""Idempotency keys: the same key and body give the same object, however often it's sent."""

from __future__ import annotations

import time
from dataclasses import dataclass

from sqlalchemy import delete
from sqlalchemy.orm import Session

from core.tables import IdempotencyKey
from stillhouse.errors import IdempotencyKeyReused

KEPT_SECONDS = 7 * 86_400


@dataclass(frozen=True, slots=True)
class Claim:
    """A request's key, where it was sent, and the hash of its body."""

    tenant: str
    path: str
    key: str
    body_sha256: str


def find(session: Session, claim: Claim) -> str | None:
    """The object that this key has made before; None if the key is new.

    Raises `IdempotencyKeyReused` if it came with another body.
    """
    row = session.get(IdempotencyKey, (claim.tenant, claim.path, claim.key))
    if row is None:
        return None
    if row.body_sha256 != claim.body_sha256:
        raise IdempotencyKeyReused(field="Idempotency-Key")
    return row.object_id


def record(session: Session, claim: Claim, object_id: str) -> None:
    """Bind the key to the object, in the object's own transaction."""
    session.add(
        IdempotencyKey(
            tenant=claim.tenant,
            path=claim.path,
            key=claim.key,
            body_sha256=claim.body_sha256,
            object_id=object_id,
        )
    )
    session.flush()


def forget_old(session: Session) -> None:
    """Remove keys that are older than a week."""
    session.execute(
        delete(IdempotencyKey).where(IdempotencyKey.created_at < time.time() - KEPT_SECONDS)
    )
