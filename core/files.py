"""Which files exist and who needs them. The bytes themselves are `core.storage`'s."""

from __future__ import annotations

import time
from typing import Any

from sqlalchemy import delete, exists, select, union_all, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from core.tables import Checkpoint, Conversion, Dataset, File, FileUse, Job, Teacher

BACKUP = "backup"
"""The owner of what backups hold."""
_UNSYNCHRONIZED = {"synchronize_session": False}


def note(session: Session, sha256: str, size: int) -> None:
    """Record that a file is in the storage, or will be; an old one becomes young again.

    Its row stays locked until the transaction ends, so that it isn't collected meanwhile. Who
    notes a file before its bytes are there must `use` it, too.
    """
    row = {"sha256": sha256, "bytes": size, "touched_at": time.time()}
    _write(session, File, row, key=["sha256"], anew=["touched_at", "bytes"])


def note_strays(session: Session, hashes: list[str], *, until: float) -> None:
    """Record bytes that are in no book as touched at `until`, which may lie ahead.

    Unless somebody uses them, `collect` takes them after that.
    """
    missing = set(hashes) - known(session, hashes)
    rows = [{"sha256": sha256, "bytes": 0, "touched_at": until} for sha256 in sorted(missing)]
    if rows:
        session.execute(_insert(session, File).values(rows).on_conflict_do_nothing())


def known(session: Session, hashes: list[str]) -> set[str]:
    """Which of these files are in the books."""
    return set(session.scalars(select(File.sha256).where(File.sha256.in_(hashes))))


def owners(session: Session, sha256: str) -> list[str]:
    """Who needs a file: ids of objects, and `upload:<tenant>` or `conversion:<tenant>`."""
    used = select(FileUse.owner).where(FileUse.sha256 == sha256, FileUse.owner != BACKUP)
    resumed = select(Checkpoint.run).where(Checkpoint.sha256 == sha256)
    return sorted({*session.scalars(used), *session.scalars(resumed)})


def use(session: Session, sha256: str, owner: str, role: str) -> None:
    """Record that `owner` needs a file, or needs it still."""
    row = {"sha256": sha256, "owner": owner, "role": role, "created_at": time.time()}
    _write(session, FileUse, row, key=["sha256", "owner", "role"], anew=["created_at"])


def release(session: Session, owner: str, *, role: str | None = None) -> None:
    """`owner` needs its files no longer."""
    query = delete(FileUse).where(FileUse.owner == owner)
    session.execute(query if role is None else query.where(FileUse.role == role))


def forget(session: Session, sha256: str, owner: str) -> bool:
    """`owner` needs this file no longer; true when nobody does: the next `collect` takes it."""
    session.execute(delete(FileUse).where(FileUse.owner == owner, FileUse.sha256 == sha256))
    # Locked before it's looked whether anybody needs it: a use that is being written is seen.
    session.execute(select(File.sha256).where(File.sha256 == sha256).with_for_update())
    aged = (
        update(File)
        .where(File.sha256 == sha256, ~_needed())
        .values(touched_at=0.0)
        .returning(File.sha256)
    )
    found = session.scalars(aged, execution_options=_UNSYNCHRONIZED).one_or_none()
    return found is not None


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
    """Ids of the tenant's objects whose specs name this upload; others may have sent it, too."""
    owned = union_all(
        *(select(kind.id).where(kind.tenant == tenant) for kind in (Teacher, Dataset, Job))
    )
    query = select(FileUse.owner).where(
        FileUse.sha256 == sha256, FileUse.role == "source", FileUse.owner.in_(owned)
    )
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


def hold(session: Session, hashes: list[str], name: str) -> None:
    """Keep files from being collected while a backup of this name copies them."""
    now = time.time()
    rows = [{"sha256": each, "owner": BACKUP, "role": name, "created_at": now} for each in hashes]
    session.execute(_insert(session, FileUse).values(rows))


def expire_holds(session: Session, older_than: float) -> None:
    """Forget what backups held that died before they let it go."""
    session.execute(delete(FileUse).where(FileUse.owner == BACKUP, FileUse.created_at < older_than))


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
    session: Session, table: type[File | FileUse], row: dict[str, Any], *, key: list[str],
    anew: list[str],
) -> None:  # fmt: skip
    """Insert a row, or renew the one that is there; safe against a twin at work."""
    written = (
        _insert(session, table)
        .values(row)
        .on_conflict_do_update(index_elements=key, set_={name: row[name] for name in anew})
    )
    session.execute(written, execution_options=_UNSYNCHRONIZED)


def _insert(session: Session, table: type[File | FileUse]) -> Any:
    dialect = session.get_bind().dialect.name
    return (sqlite.insert if dialect == "sqlite" else postgresql.insert)(table)
