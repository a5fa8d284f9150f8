import threading

import pytest

from core import keys
from core.db import Database
from core.tables import Key
from stillhouse.errors import LastAdminKey, NotFound
from tests.stage import Stage


def issue(stage: Stage, *scopes: keys.Scope) -> tuple[str, str]:
    """A key and its id."""
    text = keys.draw()
    return text, stage.write(keys.add, text, tenant="default", scopes=list(scopes))


def is_good(stage: Stage, text: str) -> bool:
    presented = keys.read(text)
    assert presented is not None
    with stage.database.read() as session:
        return keys.find(session, presented) is not None


def test_a_key_tells_its_id_and_is_not_in_the_database(stage: Stage) -> None:
    text, made = issue(stage, "submit")
    presented = keys.read(text)
    assert presented is not None
    assert presented.id == made
    row = stage.get(Key, made)
    assert row.sha256 == presented.sha256
    assert text.split("_")[2] not in repr(
        {c.name: getattr(row, c.key, "") for c in Key.__table__.c}
    )


def test_a_typo_is_told_from_a_key_without_a_database() -> None:
    text = keys.draw()
    swapped = text[:40] + text[41] + text[40] + text[42:]
    shorter, longer = text[:-1], text + "0"
    cased = text.swapcase()
    for typo in (shorter, longer, cased, text.replace("sth_", "std_"), "", f" {text}", f"{text}\n"):
        assert keys.read(typo) is None, typo
    assert swapped == text or keys.read(swapped) is None


def test_keys_have_256_bits_of_their_own() -> None:
    secrets = {keys.draw().split("_")[2] for _ in range(200)}
    assert len(secrets) == 200
    assert {len(secret) for secret in secrets} == {43}


def test_only_the_whole_key_is_good(stage: Stage) -> None:
    text, _ = issue(stage, "read")
    other = keys.draw()
    start = "_".join([*text.split("_")[:2], other.split("_")[2]])
    forged = f"{start}_{keys._checksum(start)}"
    assert is_good(stage, text)
    assert not is_good(stage, forged)
    assert not is_good(stage, other)


def test_a_scope_implies_those_before_it() -> None:
    granted = {held: [s for s in keys.SCOPES if keys.allows([held], s)] for held in keys.SCOPES}
    assert granted == {
        "read": ["read"],
        "submit": ["read", "submit"],
        "admin": ["read", "submit", "admin"],
    }
    assert not keys.allows([], "read")


def test_a_key_that_is_there_stays_as_it_is(stage: Stage) -> None:
    text, made = issue(stage, "admin")
    stage.write(keys.add, text, tenant="other", scopes=["read"])
    assert (stage.get(Key, made).tenant, stage.get(Key, made).scopes) == ("default", ["admin"])


def test_a_revoked_key_is_good_no_longer_and_stays_in_the_books(stage: Stage) -> None:
    text, made = issue(stage, "submit")
    stage.write(keys.revoke, made)
    first = stage.get(Key, made)
    stage.write(keys.revoke, made)
    assert not is_good(stage, text)
    assert first.revoked_at is not None
    assert stage.get(Key, made).revoked_at == first.revoked_at
    with pytest.raises(NotFound):
        stage.write(keys.revoke, "key_x")


def test_the_last_admin_key_is_kept(stage: Stage) -> None:
    _, first = issue(stage, "admin")
    _, second = issue(stage, "admin")
    _, reader = issue(stage, "read")
    stage.write(keys.revoke, first)
    with pytest.raises(LastAdminKey):
        stage.write(keys.revoke, second)
    stage.write(keys.revoke, reader)
    stage.write(keys.revoke, first)
    assert stage.get(Key, second).revoked_at is None


def test_of_two_admins_who_revoke_each_other_one_stays(stage: Stage, database_url: str) -> None:
    _, first = issue(stage, "admin")
    _, second = issue(stage, "admin")
    other, refused = Database(database_url), list[Exception]()

    def revoke_second() -> None:
        try:
            with other.write() as session:
                keys.revoke(session, second)
        except LastAdminKey as error:
            refused.append(error)

    with stage.database.write() as session:
        keys.revoke(session, first)
        thread = threading.Thread(target=revoke_second)
        thread.start()
        # Had it not waited for us, it would have ended with both keys gone.
        thread.join(0.3)
        assert thread.is_alive()
    thread.join(20)
    other.close()
    assert len(refused) == 1
    assert stage.get(Key, second).revoked_at is None


def test_a_use_is_written_once_a_minute(stage: Stage) -> None:
    _, made = issue(stage, "read")
    assert stage.get(Key, made).last_used_at is None
    stage.write(keys.note_use, made)
    first = stage.get(Key, made).last_used_at
    stage.write(keys.note_use, made)
    assert first is not None
    assert stage.get(Key, made).last_used_at == first


def test_many_add_one_key_and_one_row_is_there(stage: Stage) -> None:
    text, gate = keys.draw(), threading.Barrier(4)

    def add() -> None:
        gate.wait()
        stage.write(keys.add, text, tenant="default", scopes=["admin"])

    threads = [threading.Thread(target=add) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert is_good(stage, text)
