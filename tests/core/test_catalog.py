import threading

import pytest
from sqlalchemy import select

from core import catalog, leases, students, submissions
from core.submissions import Submission
from core.tables import Event, Job, Run, Student, Teacher
from stillhouse.errors import InUse, JobIsRunning, ReferenceNotFound
from stillhouse.spec import JobSpec, TeacherSpec
from tests import stage as stage_module
from tests.stage import NETWORK, Stage


def error_of(stage: Stage, job: str) -> dict[str, object]:
    return stage.get(Job, job).error or {}


def slots(stage: Stage, job: str) -> list[tuple[object, ...]]:
    return [(run.kind, run.student, run.arm, run.seed) for run in stage.runs(job)]


def test_a_deleted_job_takes_its_rows_and_its_students_only_if_asked(stage: Stage) -> None:
    job, other = stage.job(), None
    stage.play()
    with stage.database.read() as session:
        kept = len(session.scalars(select(Student)).all())
    assert kept == 2
    stage.write(catalog.delete_job, "default", job, cascade=False)
    with stage.database.read() as session:
        assert len(session.scalars(select(Student)).all()) == kept
        assert session.scalars(select(Run).where(Run.job == job)).all() == []
        assert session.scalars(select(Event)).all() == []
    other = stage.job()
    stage.play()
    stage.write(catalog.delete_job, "default", other, cascade=True)
    with stage.database.read() as session:
        assert len(session.scalars(select(Student)).all()) == kept


def test_a_teacher_that_is_deleted_while_it_is_taken_in_stays_deleted(stage: Stage) -> None:
    teacher = stage.validating_teacher()
    lease = stage.take()
    stage.write(catalog.delete_teacher, "default", teacher)
    assert stage.beat(lease) == "lost"
    with stage.database.write() as session:
        assert leases.succeed(session, lease, stage_module.teacher_facts(), []) is None
        assert session.get(Teacher, teacher) is None


def trained_here(stage: Stage, dataset: str) -> str:
    fields = {"name": "home", "network": NETWORK, "train": {"dataset": dataset, "seed": 3}}
    spec = TeacherSpec.model_validate(fields)
    with stage.database.write() as session:
        return catalog.create_teacher(session, "default", spec).id


def test_a_teacher_that_is_trained_here_gets_ready_with_its_job(stage: Stage) -> None:
    dataset = stage.dataset()
    teacher = trained_here(stage, dataset)
    row = stage.get(Teacher, teacher)
    assert row.status == "training"
    assert row.job is not None
    assert stage.get(Job, row.job).kind == "train"
    assert slots(stage, row.job)[1:-1] == [("train", "home", "no_teacher", 3)]
    waiting = stage.job(teacher=teacher, dataset=dataset)
    with pytest.raises(InUse):
        stage.write(catalog.delete_teacher, "default", teacher)
    stage.play()
    row = stage.get(Teacher, teacher)
    assert (row.status, row.trained_on["seen"]["parts"]) == ("ready", ["train", "validation"])
    with stage.database.read() as session:
        student = students.of_job(session, str(row.job))[0]
    weights = next(file for file in student.files if file["path"] == "model.safetensors")
    assert row.sha256 == weights["sha256"]
    assert stage.status(waiting) == "succeeded"


@pytest.mark.parametrize("end", ["cancelled", "failed"])
def test_a_teacher_whose_training_does_not_succeed_is_rejected(stage: Stage, end: str) -> None:
    dataset = stage.dataset()
    teacher = trained_here(stage, dataset)
    waiting = stage.job(teacher=teacher, dataset=dataset)
    job = str(stage.get(Teacher, teacher).job)
    if end == "cancelled":
        stage.cancel(job)
    else:
        stage.fail(stage.take())
    row = stage.get(Teacher, teacher)
    assert (row.status, (row.error or {})["code"]) == ("rejected", "not_trained")
    assert error_of(stage, waiting)["code"] == "teacher_rejected"


def test_a_job_that_runs_is_not_deleted(stage: Stage) -> None:
    job = stage.job()
    with pytest.raises(JobIsRunning):
        stage.write(catalog.delete_job, "default", job, cascade=True)


def test_a_job_made_while_its_input_gets_ready_goes_on(stage: Stage) -> None:
    if stage.database.is_sqlite:
        pytest.skip("writers of SQLite stand in line")
    teacher, dataset = stage.teacher(), stage.validating_dataset()
    lease = stage.take()
    spec = JobSpec.model_validate(stage_module.job_spec(teacher, dataset))
    intake = threading.Thread(target=lambda: stage.end_well(lease))
    with stage.database.write() as session:
        job = submissions.create(session, Submission("default", spec)).id
        intake.start()
        intake.join(0.5)
        assert intake.is_alive(), "the intake did not wait for the job that names its dataset"
    intake.join(10)
    assert stage.get(Job, job).resolved is not None
    assert stage.take().run.job == job


def test_a_dataset_is_not_deleted_under_a_job_that_is_being_made(stage: Stage) -> None:
    if stage.database.is_sqlite:
        pytest.skip("writers of SQLite stand in line")
    teacher, dataset = stage.teacher(), stage.dataset()
    spec = JobSpec.model_validate(stage_module.job_spec(teacher, dataset))
    refused: list[Exception] = []

    def delete() -> None:
        try:
            stage.write(catalog.delete_dataset, "default", dataset)
        except InUse as error:
            refused.append(error)

    thread = threading.Thread(target=delete)
    with stage.database.write() as session:
        job = submissions.create(session, Submission("default", spec)).id
        thread.start()
        thread.join(0.3)
    thread.join(10)
    assert [error.extra for error in refused if isinstance(error, InUse)] == [{"used_by": [job]}]


def test_a_teacher_cannot_have_seen_a_dataset_that_is_not_there(stage: Stage) -> None:
    seen = {"dataset": "ds_" + "0" * 26, "parts": ["train"]}
    with pytest.raises(ReferenceNotFound) as caught:
        stage.validating_teacher(trained_on=seen)
    assert caught.value.field == "trained_on.dataset"
