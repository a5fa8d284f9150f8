from collections import Counter
from typing import Any

import pytest
from sqlalchemy import select

from core import jobs, students, submissions
from core.submissions import Submission
from core.tables import Dataset, Event, Job, Run, Student
from stillhouse.errors import (
    ClassesDiffer,
    ReferenceNotFound,
    ReferenceRejected,
    SpecInvalid,
)
from stillhouse.spec import JobSpec
from tests import stage as stage_module
from tests.stage import NETWORK, Stage


def slots(stage: Stage, job: str) -> list[tuple[Any, ...]]:
    return [(run.kind, run.student, run.arm, run.seed) for run in stage.runs(job)]


def error_of(stage: Stage, job: str) -> dict[str, Any]:
    found = stage.get(Job, job)
    assert found.status == "failed"
    return found.error or {}


def test_a_job_has_exactly_the_runs_that_its_spec_asks_for(stage: Stage) -> None:
    pair = [{"name": name, "network": NETWORK} for name in ("small", "smaller")]
    job = stage.job(students=pair, seeds=[4, 7])
    trained = [
        ("train", name, arm, seed)
        for name in ("small", "smaller")
        for arm in ("distilled", "no_teacher")
        for seed in (4, 7)
    ]
    report = ("report", None, None, None)
    assert slots(stage, job) == [("prepare", None, None, None), *trained, report]
    assert [run.ready for run in stage.runs(job)] == [True] + [False] * 9
    assert stage.get(Job, job).resolved is not None


def test_training_waits_for_prepare_and_the_report_for_all_training(stage: Stage) -> None:
    job = stage.job()
    assert stage.status(job) == "queued"
    prepare = stage.take()
    assert (prepare.run.kind, stage.status(job)) == ("prepare", "preparing")
    assert stage.look() is None
    stage.end_well(prepare)
    assert stage.status(job) == "running"
    first, second = stage.take(), stage.take()
    assert (first.run.arm, second.run.arm) == ("distilled", "no_teacher")
    stage.end_well(first)
    assert stage.look() is None
    stage.end_well(second)
    report = stage.take()
    assert report.run.kind == "report"
    stage.end_well(report)
    found = stage.get(Job, job)
    assert (found.status, found.eta_seconds) == ("succeeded", 0.0)
    assert found.step == found.steps
    assert found.result is not None


def test_students_are_trained_and_then_final(stage: Stage) -> None:
    job = stage.job()
    report = stage.play_until("report")
    with stage.database.read() as session:
        trained = students.of_job(session, job)
    assert [student.status for student in trained] == ["trained", "trained"]
    assert {student.metrics["test"] for student in trained} == {None}
    before = {file["path"]: file["sha256"] for file in trained[0].files}
    stage.end_well(report)
    final = stage.get(Student, trained[0].id)
    assert final.status == "final"
    assert final.metrics["test"] is not None
    assert final.latency_ms == 2.5
    after = {file["path"]: file["sha256"] for file in final.files}
    assert after == before | {"report.json": after["report.json"]}
    assert stage.get(Dataset, final.dataset).test_opened == 1


def test_the_best_student_is_a_distilled_one_within_the_budget(stage: Stage) -> None:
    job = stage.job(seeds=3)
    stage.play()
    with stage.database.read() as session:
        best = students.best(session, job, max_latency_ms=None, max_bytes=None)
        assert best is not None
        assert (best.arm, best.seed) == ("distilled", 2)
        assert students.best(session, job, max_latency_ms=2.4, max_bytes=None) is None
        assert students.best(session, job, max_latency_ms=None, max_bytes=1) is None
        assert students.best(session, job, max_latency_ms=2.5, max_bytes=10**6) is not None


def test_a_job_waits_for_its_inputs_and_goes_on_when_both_are_ready(stage: Stage) -> None:
    teacher, dataset = stage.validating_teacher(), stage.validating_dataset()
    job = stage.job(teacher=teacher, dataset=dataset)
    assert stage.status(job) == "preparing"
    assert stage.get(Job, job).resolved is None
    stage.end_well(stage.take())
    assert stage.get(Job, job).resolved is None
    stage.end_well(stage.take())
    assert stage.get(Job, job).resolved is not None
    assert stage.take().run.job == job
    assert stage.play() == 0


@pytest.mark.parametrize("which", ["teacher", "dataset"])
def test_a_job_fails_with_an_input_that_is_rejected(stage: Stage, which: str) -> None:
    inputs = {"teacher": stage.teacher(), "dataset": stage.dataset()}
    making = stage.validating_teacher if which == "teacher" else stage.validating_dataset
    waiting = making()
    job = stage.job(**(inputs | {which: waiting}))
    stage_module.rejected(stage, waiting)
    assert error_of(stage, job)["code"] == f"{which}_rejected"
    assert {run.status for run in stage.runs(job)} == {"cancelled"}
    with pytest.raises(ReferenceRejected):
        stage.job(**(inputs | {which: waiting}))


def test_what_only_ready_inputs_show_fails_the_waiting_job(stage: Stage) -> None:
    teacher, dataset = stage.teacher(), stage.validating_dataset()
    job = stage.job(dataset=dataset, teacher=teacher, training={"batch_size": 61})
    stage.play()
    assert error_of(stage, job)["field"] == "training.batch_size"


def test_a_batch_larger_than_the_data_is_refused(stage: Stage) -> None:
    with pytest.raises(SpecInvalid, match="60 training rows"):
        stage.job(training={"batch_size": 61})
    stage.job(training={"batch_size": 60})


def test_unknown_inputs_are_refused(stage: Stage) -> None:
    with pytest.raises(ReferenceNotFound) as caught:
        stage.job(teacher="tch_" + "0" * 26)
    assert caught.value.field == "teachers.0.id"
    with pytest.raises(ReferenceNotFound) as caught:
        stage.job(dataset="ds_" + "0" * 26)
    assert caught.value.field == "dataset"


def test_classes_that_differ_are_refused(stage: Stage) -> None:
    with pytest.raises(ClassesDiffer, match="eel"):
        stage.job(teacher=stage.teacher(classes=("cat", "dog", "eel")))
    with pytest.raises(ClassesDiffer, match="2 classes"):
        stage.job(teacher=stage.teacher(classes=None, class_count=2))


def test_seeds_that_fail_are_missing_and_the_others_go_on(stage: Stage) -> None:
    job = stage.job(seeds=2)
    stage.end_well(stage.take())
    stage.fail(stage.take())
    assert stage.status(job) == "running"
    stage.play()
    assert stage.status(job) == "succeeded"
    found = Counter(run.status for run in stage.runs(job, "train"))
    assert found == {"failed": 1, "succeeded": 3}


def test_a_control_may_fail_altogether(stage: Stage) -> None:
    job = stage.job()
    stage.end_well(stage.take())
    distilled, control = stage.take(), stage.take()
    stage.fail(control)
    stage.end_well(distilled)
    stage.play()
    assert stage.status(job) == "succeeded"


def test_a_student_without_a_seed_left_fails_the_job_and_stops_the_rest(stage: Stage) -> None:
    job = stage.job(seeds=2, controls=[])
    stage.end_well(stage.take())
    first, second = stage.take(), stage.take()
    stage.fail(first)
    stage.fail(second, "out_of_memory")
    assert error_of(stage, job)["code"] == "out_of_memory"
    assert error_of(stage, job)["run"] == second.run.id
    assert stage.look() is None


def test_what_still_runs_of_a_failed_job_is_told_and_leaves_nothing(stage: Stage) -> None:
    job = stage.job()
    stage.end_well(stage.take())
    distilled, control = stage.take(), stage.take()
    stage.fail(distilled)
    assert stage.beat(control, 5) == "cancel"
    stage.end_well(control)
    assert {run.status for run in stage.runs(job, "train")} == {"failed", "cancelled"}
    with stage.database.read() as session:
        assert session.scalars(select(Student)).all() == []
    assert stage.status(job) == "failed"


def test_prepare_names_the_field_and_the_job_fails_before_training(stage: Stage) -> None:
    job = stage.job()
    stage.fail(stage.take(), "network_unknown", field="students.0.network", allowed=["mlp"])
    assert error_of(stage, job) == {
        "code": "network_unknown",
        "detail": "It network_unknown.",
        "field": "students.0.network",
        "allowed": ["mlp"],
    }


def test_prepare_settles_the_precision(stage: Stage) -> None:
    job = stage.job()
    stage.end_well(stage.take(), {"precision": "bf16"})
    assert (stage.get(Job, job).resolved or {})["training"]["precision"] == "bf16"


def test_progress_is_the_sum_of_the_training_runs(stage: Stage) -> None:
    job = stage.job(training={"epochs": 10, "batch_size": 6})
    assert stage.get(Job, job).steps == 10 * 10 * 2
    stage.end_well(stage.take())
    first, second = stage.take(), stage.take()
    stage.beat(first, 30)
    stage.beat(second, 12)
    found = stage.get(Job, job)
    assert (found.step, found.epoch) == (42, 1)
    assert found.eta_seconds >= 0
    version = found.version
    stage.beat(second, 13)
    assert stage.get(Job, job).version > version


def test_a_job_of_another_tenant_names_nothing_of_ours(stage: Stage) -> None:
    spec = JobSpec.model_validate(stage_module.job_spec(stage.teacher(), stage.dataset()))
    with pytest.raises(ReferenceNotFound), stage.database.write() as session:
        submissions.create(session, Submission("other", spec))


def test_a_new_priority_moves_what_waits(stage: Stage) -> None:
    teacher, dataset = stage.teacher(), stage.dataset()
    stage.job(teacher=teacher, dataset=dataset)
    second = stage.job(teacher=teacher, dataset=dataset)
    with stage.database.write() as session:
        jobs.set_priority(session, session.get_one(Job, second), 9)
    assert stage.take().run.job == second
    assert {run.priority for run in stage.runs(second)} == {9}


def test_events_tell_the_life_of_a_job(stage: Stage) -> None:
    job = stage.job()
    stage.play()
    with stage.database.read() as session:
        told = list(session.scalars(select(Event.type).where(Event.job == job).order_by(Event.id)))
    assert told == ["created", "preparing", "running", "succeeded"]


def test_a_jobs_slots_are_unique_in_the_database(stage: Stage) -> None:
    job = stage.job()
    with stage.database.read() as session:
        found = list(session.scalars(select(Run.slot).where(Run.job == job)))
    assert len(set(found)) == len(found) == 4
