"""Which files exist and who needs them. The bytes themselves are `core.storage`'s."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import delete, exists, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from core.tables import Conversion, File, FileUse


def note(session: Session, sha256: str, size: int) -> None:
    """Record that a file is in the storage; an old one becomes young again.

    Its row stays locked until the transaction ends, so that it isn't collected meanwhile.
    """
    row = {"sha256": sha256, "bytes": size, "touched_at": time.time()}
    _write(session, File, row, key=["sha256"], anew="touched_at")


def known(session: Session, hashes: list[str]) -> set[str]:
    """Which of these files are in the books."""
    return set(session.scalars(select(File.sha256).where(File.sha256.in_(hashes))))


def use(session: Session, sha256: str, owner: str, role: str) -> None:
    """Record that `owner` needs a file, or needs it still."""
    row = {"sha256": sha256, "owner": owner, "role": role, "created_at": time.time()}
    _write(session, FileUse, row, key=["sha256", "owner", "role"], anew="created_at")


def release(session: Session, owner: str, *, role: str | None = None) -> None:
    """`owner` needs its files no longer."""
    query = delete(FileUse).where(FileUse.owner == owner)
    session.execute(query if role is None else query.where(FileUse.role == role))


def forget(session: Session, sha256: str, owner: str) -> bool:
    """`owner` needs this file no longer; true when nobody does, and the bytes may go."""
    session.execute(delete(FileUse).where(FileUse.owner == owner, FileUse.sha256 == sha256))
    gone = delete(File).where(File.sha256 == sha256, ~_needed()).returning(File.sha256)
    return session.scalars(gone).one_or_none() is not None


def forget_upload(session: Session, tenant: str, sha256: str) -> None:
    """A tenant's upload, and what it was converted to for it, are needed no longer."""
    session.execute(
        delete(FileUse).where(FileUse.owner == upload_owner(tenant), FileUse.sha256 == sha256)
    )
    ours = converted(session, tenant, sha256)
    of_it = (Conversion.tenant == tenant, Conversion.source == sha256)
    session.execute(delete(Conversion).where(*of_it))
    others = select(Conversion).where(Conversion.tenant == tenant, Conversion.sha256 == ours)
    if ours is not None and session.scalars(others.limit(1)).one_or_none() is None:
        session.execute(
            delete(FileUse).where(
                FileUse.owner == _conversion_owner(tenant), FileUse.sha256 == ours
            )
        )


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
    use(session, ours, _conversion_owner(tenant), "content")


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
    idle = (File.touched_at < untouched_since, ~_needed())
    some = select(File.sha256).where(*idle).limit(limit).scalar_subquery()
    # The conditions stand in the DELETE too: it meets the row as whoever noted it left it.
    gone = delete(File).where(File.sha256.in_(some), *idle).returning(File.sha256)
    return list(session.scalars(gone))


def upload_owner(tenant: str) -> str:
    """The owner under which a tenant's uploads are kept."""
    return f"upload:{tenant}"


def _conversion_owner(tenant: str) -> str:
    return f"conversion:{tenant}"


def _needed() -> Any:
    return exists().where(FileUse.sha256 == File.sha256)


def _write(
    session: Session, table: type[File | FileUse], row: dict[str, Any], *, key: list[str], anew: str
) -> None:
    """Insert a row, or give the one that is there a new time; safe against a twin at work."""
    dialect = session.get_bind().dialect.name
    insert: Any = sqlite.insert if dialect == "sqlite" else postgresql.insert
    written = insert(table).values(row)
    session.execute(
        written.on_conflict_do_update(index_elements=key, set_={anew: row[anew]}),
        execution_options={"synchronize_session": False},
    )
