import threading
import time

import pytest
from sqlalchemy import update

from core import catalog, files
from core.tables import Conversion, File, FileUse, Teacher
from stillhouse.errors import ReferenceNotFound
from stillhouse.spec import TeacherSpec
from tests import stage as stage_module
from tests.stage import NETWORK, Stage

LATER = time.time() + 1_000_000


def has_file(stage: Stage, sha256: str) -> bool:
    with stage.database.read() as session:
        return session.get(File, sha256) is not None


def collect(stage: Stage) -> list[str]:
    found: list[str] = stage.write(files.collect, untouched_since=LATER)
    return found


def test_a_file_that_somebody_needs_is_not_collected(stage: Stage) -> None:
    kept, dropped = stage.upload(b"kept"), stage.upload(b"dropped")
    stage.write(files.forget_upload, "default", dropped)
    assert collect(stage) == [dropped]
    assert has_file(stage, kept)
    assert not has_file(stage, dropped)


def test_a_young_file_is_not_collected(stage: Stage) -> None:
    file = stage.put(b"young")
    stage.write(files.note, file["sha256"], file["bytes"])
    assert stage.write(files.collect, untouched_since=time.time() - 600) == []
    assert collect(stage) == [file["sha256"]]


def test_uploads_that_nothing_names_expire_and_named_ones_stay(stage: Stage) -> None:
    unnamed = stage.upload(b"unnamed")
    stage.validating_dataset()
    stage.write(files.expire_uploads, LATER)
    assert collect(stage) == [unnamed]


def test_an_upload_that_was_sent_again_is_young_again(stage: Stage) -> None:
    sha256 = stage.upload(b"twice")
    with stage.database.write() as session:
        found = session.get(FileUse, (sha256, "upload:default", "upload"))
        assert found is not None
        found.created_at = 1.0
    stage.upload(b"twice")
    stage.write(files.expire_uploads, time.time() - 3600)
    with stage.database.read() as session:
        assert files.uploaded(session, "default", sha256)


def test_bytes_of_another_tenant_cannot_be_named(stage: Stage) -> None:
    sha256 = stage.upload(b"theirs", tenant="other")
    spec = TeacherSpec.model_validate(
        {"name": "t", "network": NETWORK, "weights": {"blob": sha256}}
    )
    with pytest.raises(ReferenceNotFound), stage.database.write() as session:
        catalog.create_teacher(session, "default", spec)
    with stage.database.write() as session:
        assert catalog.create_teacher(session, "other", spec).tenant == "other"


def test_the_original_of_a_ready_teacher_is_dropped_and_its_conversion_reused(
    stage: Stage,
) -> None:
    teacher = stage.teacher()
    row = stage.get(Teacher, teacher)
    original = row.spec["weights"]["blob"]
    assert row.sha256 is not None
    assert collect(stage) == [original]
    assert has_file(stage, row.sha256)
    second = stage.validating_teacher()
    with stage.database.read() as session:
        assert files.uploaded(session, "default", original)
        assert files.converted(session, "default", original) == row.sha256
        assert session.get(FileUse, (row.sha256, second, "source")) is not None


def test_a_conversion_outlives_its_teacher_and_goes_with_the_upload(stage: Stage) -> None:
    teacher = stage.teacher()
    row = stage.get(Teacher, teacher)
    original = row.spec["weights"]["blob"]
    collect(stage)
    stage.write(catalog.delete_teacher, "default", teacher)
    assert collect(stage) == []
    stage.write(files.forget_upload, "default", original)
    assert collect(stage) == [row.sha256]
    with stage.database.read() as session:
        assert session.get(Conversion, ("default", original)) is None


def test_a_rejected_teacher_needs_its_bytes_no_longer(stage: Stage) -> None:
    teacher = stage_module.rejected(stage, stage.validating_teacher())
    original = stage.get(Teacher, teacher).spec["weights"]["blob"]
    with stage.database.read() as session:
        assert files.named_by(session, "default", original) == []
    stage.write(files.expire_uploads, LATER)
    assert collect(stage) == [original]


def test_a_deleted_teacher_leaves_no_use(stage: Stage) -> None:
    teacher = stage.teacher()
    stage.write(catalog.delete_teacher, "default", teacher)
    with stage.database.read() as session:
        assert not [use for use in session.query(FileUse) if use.owner == teacher]


def test_forgetting_spares_what_another_needs(stage: Stage) -> None:
    file = stage.put(b"shared")
    for owner in ("run_a", "run_b"):
        stage.write(files.note, file["sha256"], file["bytes"])
        stage.write(files.use, file["sha256"], owner, "content")
    assert stage.write(files.forget, file["sha256"], "run_a") is False
    assert stage.write(files.collect, untouched_since=time.time() - 600) == []
    assert stage.write(files.forget, file["sha256"], "run_b") is True
    assert stage.write(files.collect, untouched_since=time.time() - 600) == [file["sha256"]]


def test_what_is_forgotten_while_another_begins_to_use_it_stays(stage: Stage) -> None:
    if stage.database.is_sqlite:
        pytest.skip("writers of SQLite stand in line")
    file = stage.put(b"shared")
    stage.write(files.note, file["sha256"], file["bytes"])
    stage.write(files.use, file["sha256"], "run_a", "content")
    forgotten: list[bool] = []
    forgetting = threading.Thread(
        target=lambda: forgotten.append(stage.write(files.forget, file["sha256"], "run_a"))
    )
    with stage.database.write() as session:
        files.note(session, file["sha256"], file["bytes"])
        files.use(session, file["sha256"], "run_b", "content")
        forgetting.start()
        forgetting.join(0.3)
        assert forgetting.is_alive(), "it did not wait for the row"
    forgetting.join(10)
    assert forgotten == [False]
    assert stage.write(files.collect, untouched_since=LATER) == []


def test_strays_are_collected_when_their_time_is_up(stage: Stage) -> None:
    young, used, stray = stage.put(b"young"), stage.upload(b"used"), stage.put(b"stray")["sha256"]
    stage.write(files.note, young["sha256"], young["bytes"])
    until = time.time() - 700
    stage.write(files.note_strays, [young["sha256"], used, stray], until=until)
    assert stage.write(files.collect, untouched_since=until - 1) == []
    assert stage.write(files.collect, untouched_since=time.time() - 600) == [stray]
    assert has_file(stage, young["sha256"])


def test_two_uploads_of_the_same_bytes_at_once_are_one_file(stage: Stage) -> None:
    gate = threading.Barrier(8)
    troubles: list[Exception] = []

    def send() -> None:
        gate.wait()
        try:
            stage.upload(b"the same")
        except Exception as error:  # noqa: BLE001  whatever it is, the test shows it
            troubles.append(error)

    threads = [threading.Thread(target=send) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert troubles == []
    assert collect(stage) == []


def test_a_file_that_is_noted_while_it_is_collected_is_not_called_gone(stage: Stage) -> None:
    if stage.database.is_sqlite:
        pytest.skip("writers of SQLite stand in line")
    file = stage.put(b"raced")
    stage.write(files.note, file["sha256"], file["bytes"])
    cut = time.time() - 600
    with stage.database.write() as session:
        session.execute(update(File).values(touched_at=1.0))
    gone: list[str] = []
    collector = threading.Thread(
        target=lambda: gone.extend(stage.write(files.collect, untouched_since=cut))
    )
    with stage.database.write() as session:
        files.note(session, file["sha256"], file["bytes"])
        files.use(session, file["sha256"], "upload:default", "upload")
        collector.start()
        collector.join(0.3)
        assert collector.is_alive(), "the collector did not wait for the row"
    collector.join(10)
    assert gone == []
    assert has_file(stage, file["sha256"])
