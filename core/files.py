"""Which files exist and who needs them. The bytes themselves are `core.storage`'s."""

from __future__ import annotations

import time

from sqlalchemy import delete, exists, select
from sqlalchemy.orm import Session

from core.tables import Conversion, File, FileUse


def note(session: Session, sha256: str, size: int) -> None:
    """Record that a file is in the storage; an old one becomes young again."""
    known = session.get(File, sha256)
    if known is None:
        session.add(File(sha256=sha256, bytes=size))
        session.flush()
    else:
        known.touched_at = time.time()


def use(session: Session, sha256: str, owner: str, role: str) -> None:
    """Record that `owner` needs a file."""
    if session.get(FileUse, (sha256, owner, role)) is None:
        session.add(FileUse(sha256=sha256, owner=owner, role=role))
        session.flush()


def release(session: Session, owner: str, *, role: str | None = None) -> None:
    """`owner` needs its files no longer."""
    query = delete(FileUse).where(FileUse.owner == owner)
    session.execute(query if role is None else query.where(FileUse.role == role))


def forget(session: Session, sha256: str, owner: str) -> None:
    """`owner` needs this file no longer, and nobody else ever did: take it out of the books."""
    session.execute(delete(FileUse).where(FileUse.owner == owner, FileUse.sha256 == sha256))
    session.execute(delete(File).where(File.sha256 == sha256))


def uploaded(session: Session, tenant: str, sha256: str) -> bool:
    """Whether a tenant may name these bytes: uploaded by it, or converted for it before."""
    if session.get(FileUse, (sha256, upload_owner(tenant), "upload")) is not None:
        return True
    return session.get(Conversion, (tenant, sha256)) is not None


def named_by(session: Session, tenant: str, sha256: str) -> list[str]:
    """Ids of the objects whose specs name this upload."""
    del tenant  # an object's id is shown only to the tenant whose upload this is
    query = select(FileUse.owner).where(FileUse.sha256 == sha256, FileUse.role == "source")
    return sorted(session.scalars(query))


def converted(session: Session, tenant: str, source: str) -> str | None:
    """The SHA-256 of our conversion of an original, if it was made before."""
    found = session.get(Conversion, (tenant, source))
    return None if found is None else found.sha256


def drop_original(session: Session, tenant: str, source: str, ours: str) -> None:
    """Remember what an original became, and need the original no longer."""
    if session.get(Conversion, (tenant, source)) is None:
        session.add(Conversion(tenant=tenant, source=source, sha256=ours))
    if source != ours:
        session.execute(
            delete(FileUse).where(
                FileUse.sha256 == source,
                FileUse.owner == upload_owner(tenant),
                FileUse.role == "upload",
            )
        )
    # The conversion outlives the teacher: a later POST of the same digest reuses it.
    use(session, ours, f"conversion:{tenant}", "content")


def expire_uploads(session: Session, older_than: float) -> None:
    """Forget uploads that no object has named for long enough."""
    upload = FileUse
    named = select(FileUse.sha256).where(FileUse.role == "source").scalar_subquery()
    session.execute(
        delete(upload).where(
            upload.role == "upload", upload.created_at < older_than, upload.sha256.not_in(named)
        )
    )


def collect(session: Session, *, untouched_since: float, limit: int = 200) -> list[str]:
    """Take out of the books the files that nobody needs; the caller then deletes the bytes."""
    needed = exists().where(FileUse.sha256 == File.sha256)
    query = select(File.sha256).where(File.touched_at < untouched_since, ~needed).limit(limit)
    gone = list(session.scalars(query))
    session.execute(delete(File).where(File.sha256.in_(gone), ~needed))
    return gone


def upload_owner(tenant: str) -> str:
    """The owner under which a tenant's uploads are kept."""
    return f"upload:{tenant}"
