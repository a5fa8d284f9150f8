"""Jobs with several teachers, transfer sets, sweeps, and teachers that are trained first."""

from typing import Any

import pytest
from sqlalchemy import select

from core import catalog, files, inputs, plan, submissions
from core.submissions import Submission, Writing
from core.tables import FileUse, Job, Student, Teacher
from stillhouse.errors import InputRejected, InUse, NotAvailable, ReferenceNotFound, SpecInvalid
from stillhouse.spec import JobSpec, ResolvedJob
from tests import stage as stage_module
from tests.stage import NETWORK, Stage

TEMPERATURE = "/objective/0/temperature"
SWEEP = {"kind": "grid", "parameters": {TEMPERATURE: [1, 4]}}
HERE = {"train": {"network": NETWORK, "training": {"epochs": 2, "batch_size": 20}}}


def submit(stage: Stage, **fields: Any) -> str:
    """A job of exactly these fields."""
    spec = JobSpec.model_validate({"students": [stage_module.STUDENT]} | fields)
    return str(stage.write(submissions.create, Submission("default", spec)).id)


def unlabelled(stage: Stage, rows: int = 40) -> str:
    made = stage.validating_dataset(name=f"{rows} more", columns={"label": None})
    counts = {"train": 0, "validation": 0, "test": 0, "unlabelled": rows}
    facts = stage_module.dataset_facts() | {"classes": [], "rows": counts}
    stage.end_well(stage.take(), facts)
    return made


def refused(stage: Stage, **fields: Any) -> tuple[str, str | None]:
    with pytest.raises(InputRejected) as caught:
        submit(stage, **fields)
    return caught.value.rejected_code, caught.value.field


def test_each_variant_is_trained_and_they_share_a_control(stage: Stage) -> None:
    job = stage.job(sweep=SWEEP, seeds=2)
    trained = [(run.arm, run.variant, run.seed) for run in stage.runs(job, "train")]
    assert trained == [
        ("distilled", "v1", 0), ("distilled", "v1", 1),
        ("no_teacher", None, 0), ("no_teacher", None, 1),
        ("distilled", "v2", 0), ("distilled", "v2", 1),
    ]  # fmt: skip
    assert len({run.slot for run in stage.runs(job)}) == 8
    assert [run.turn for run in stage.runs(job, "train")] == [1, 2, 3, 4, 5, 6]


def test_a_run_is_told_its_variants_values_and_a_shared_one_the_first_ones(stage: Stage) -> None:
    job = stage.get(Job, stage.job(sweep=SWEEP, objective=[{"kind": "soft_targets"}]))
    told = [plan.spec_of(job, name)["objective"][0]["temperature"] for name in ("v1", "v2", None)]
    assert told == [1, 4, 1]
    assert {plan.spec_of(job, name)["sweep"] for name in ("v1", "v2")} == {None}
    for name in ("v1", "v2"):
        ResolvedJob.model_validate(plan.spec_of(job, name))
    assert [one["changes"] for one in job.variants or []] == [{TEMPERATURE: 1}, {TEMPERATURE: 4}]


def test_what_is_auto_is_resolved_for_each_variant(stage: Stage) -> None:
    sweep = {"kind": "grid", "parameters": {"/training/epochs": [20, 40]}}
    job = stage.get(Job, stage.job(sweep=sweep))
    warmups = [
        plan.spec_of(job, name)["training"]["schedule"]["warmup_epochs"] for name in ("v1", "v2")
    ]
    assert warmups == [1.0, 2.0]
    assert job.steps == 2 * (20 + 40) * 2  # two arms each, two batches of 32 in sixty rows


def test_a_sweep_goes_its_way_and_fails_only_with_all_of_its_variants(stage: Stage) -> None:
    job = stage.job(sweep=SWEEP)
    stage.end_well(stage.take())
    first = stage.take()
    assert (first.run.arm, first.run.variant) == ("distilled", "v1")
    stage.fail(first)
    assert stage.status(job) == "running"
    stage.play()
    assert stage.status(job) == "succeeded"
    with stage.database.read() as session:
        found = session.scalars(select(Student).where(Student.job == job).order_by(Student.id))
        assert [(student.arm, student.variant) for student in found] == [
            ("no_teacher", None), ("distilled", "v2"),
        ]  # fmt: skip


def test_a_sweep_without_a_variant_left_has_failed(stage: Stage) -> None:
    job = stage.job(sweep=SWEEP, controls=[])
    stage.end_well(stage.take())
    stage.fail(stage.take())
    stage.fail(stage.take())
    assert stage.status(job) == "failed"


def test_what_prepare_settles_is_written_into_every_variant(stage: Stage) -> None:
    sweep = {"kind": "grid", "parameters": {"/students/0/shrink/width": [0.25, 0.5]}}
    students = [{"name": "small", "shrink": {"width": 0.5}}]
    job = stage.job(sweep=sweep, students=students)
    made = {name: NETWORK | {"options": {"hidden": [n]}} for name, n in (("v1", 2), ("v2", 4))}
    networks = {name: {"small": network} for name, network in made.items()}
    stage.end_well(stage.take(), {"precision": "bf16", "networks": networks})
    found = stage.get(Job, job)
    for name, network in made.items():
        spec = ResolvedJob.model_validate(plan.spec_of(found, name))
        assert spec.students[0].model_dump(mode="json")["network"] == network
        assert (spec.students[0].shrink, spec.training.precision) == (None, "bf16")
        assert spec.resources.device == "cpu"
    stage.end_well(stage.take())
    with stage.database.read() as session:
        assert session.scalars(select(Student)).one().network == made["v1"]


def test_a_shrunk_student_without_a_sweep_gets_its_network(stage: Stage) -> None:
    job = stage.job(students=[{"name": "small", "shrink": {"depth": 0.5}}])
    stage.end_well(stage.take(), {"networks": {"": {"small": NETWORK}}})
    student = (stage.get(Job, job).resolved or {})["students"][0]
    assert (student["network"], student["shrink"]) == (NETWORK, None)


def test_a_job_waits_for_all_of_its_teachers_and_transfer_sets(stage: Stage) -> None:
    dataset, first, more = stage.dataset(), stage.teacher(), unlabelled(stage)
    second = stage.validating_teacher(name="second")
    third = stage.validating_dataset(name="third", columns={"label": None})
    job = submit(
        stage, teachers=[{"id": first}, {"id": second}], dataset=dataset, transfer=[more, third]
    )
    assert stage.get(Job, job).resolved is None
    stage.end_well(stage.take())
    assert stage.get(Job, job).resolved is None
    counts = {"train": 0, "validation": 0, "test": 0, "unlabelled": 25}
    stage.end_well(stage.take(), stage_module.dataset_facts() | {"rows": counts})
    found = stage.get(Job, job)
    assert [one["id"] for one in (found.resolved or {})["teachers"]] == [first, second]
    assert stage.take().run.job == job
    # 60 rows of the dataset, 40 and 25 of the transfer sets, in batches of 32, in both arms
    assert found.steps == 2 * 4 * 100


@pytest.mark.parametrize("which", ["teacher", "transfer"])
def test_a_job_fails_with_any_input_that_is_rejected(stage: Stage, which: str) -> None:
    dataset, first = stage.dataset(), stage.teacher()
    fields: dict[str, Any] = {"teachers": [{"id": first}], "dataset": dataset}
    if which == "teacher":
        waiting = stage.validating_teacher(name="second")
        fields["teachers"].append({"id": waiting})
    else:
        waiting = stage.validating_dataset(name="more")
        fields["transfer"] = [waiting]
    job = submit(stage, **fields)
    stage_module.rejected(stage, waiting)
    error = stage.get(Job, job).error or {}
    assert error["code"] == ("teacher_rejected" if which == "teacher" else "dataset_rejected")
    assert waiting in error["detail"]


def test_further_inputs_are_in_use_while_a_job_names_them(stage: Stage) -> None:
    dataset, first, second = stage.dataset(), stage.teacher(), stage.teacher(macs=1)
    more = unlabelled(stage)
    job = submit(stage, teachers=[{"id": first}, {"id": second}], dataset=dataset, transfer=[more])
    for delete, key in ((catalog.delete_teacher, second), (catalog.delete_dataset, more)):
        with pytest.raises(InUse) as caught:
            stage.write(delete, "default", key)
        assert caught.value.extra["used_by"] == [job]
    stage.play()
    stage.write(catalog.delete_job, "default", job, cascade=True)
    stage.write(catalog.delete_teacher, "default", second)
    stage.write(catalog.delete_dataset, "default", more)


def test_unknown_further_inputs_are_refused_where_they_stand(stage: Stage) -> None:
    dataset, first = stage.dataset(), stage.teacher()
    for fields, field in (
        ({"teachers": [{"id": first}, {"id": "tch_" + "0" * 26}]}, "teachers.1.id"),
        ({"teachers": [{"id": first}], "transfer": ["ds_" + "0" * 26]}, "transfer.0"),
    ):
        with pytest.raises(ReferenceNotFound) as caught:
            submit(stage, dataset=dataset, **fields)
        assert caught.value.field == field


def test_a_teacher_to_be_trained_is_one_with_an_id_that_the_job_waits_for(stage: Stage) -> None:
    dataset = stage.dataset()
    teachers = [HERE | {"weight": 2.0}, {"id": stage.teacher()}]
    job = submit(stage, name="pair", teachers=teachers, dataset=dataset)
    found = stage.get(Job, job)
    made = stage.get(Teacher, found.teacher)
    assert (made.name, made.status, found.resolved) == ("pair-teacher", "training", None)
    assert found.spec["teachers"] == teachers
    training = stage.get(Job, made.job)
    assert (training.kind, training.dataset) == ("train", dataset)
    stage.play()
    assert [stage.status(each) for each in (training.id, job)] == ["succeeded", "succeeded"]
    first, _ = (stage.get(Job, job).resolved or {})["teachers"]
    assert (first["id"], first["weight"]) == (made.id, 2.0)
    assert stage.get(Teacher, made.id).status == "ready"
    assert [run.arm for run in stage.runs(training.id, "train")] == ["no_teacher"]


def test_a_job_fails_with_the_training_of_its_teacher(stage: Stage) -> None:
    job = submit(stage, teachers=[HERE], dataset=stage.dataset())
    stage.end_well(stage.take())
    stage.fail(stage.take())
    assert (stage.get(Job, job).error or {})["code"] == "teacher_rejected"


def test_what_is_wrong_with_a_teachers_training_is_said_where_it_stands(stage: Stage) -> None:
    dataset = stage.dataset()
    large = {"train": {"network": NETWORK, "training": {"batch_size": 61}}}
    with pytest.raises(SpecInvalid) as caught:
        submit(stage, teachers=[HERE, large], dataset=dataset)
    assert caught.value.field == "teachers.1.train.training.batch_size"


def test_of_a_job_that_is_refused_no_teacher_and_no_run_is_left(stage: Stage) -> None:
    dataset = stage.dataset()
    good = JobSpec.model_validate(
        {"teachers": [HERE], "dataset": dataset, "students": [stage_module.STUDENT]}
    )
    wrong = good.model_copy(update={"transfer": ("ds_" + "0" * 26,)})
    with stage.database.write() as session:
        writing = Writing(session)
        with pytest.raises(ReferenceNotFound):
            writing.add(Submission("default", wrong))
        writing.add(Submission("default", good))
        writing.write()
    with stage.database.read() as session:
        assert len(session.scalars(select(Teacher)).all()) == 1
        assert len(session.scalars(select(Job)).all()) == 2


def test_a_student_that_teaches_itself_needs_no_teacher_and_has_a_control(stage: Stage) -> None:
    job = submit(stage, teachers=[{"self": {"rounds": 3}}], dataset=stage.dataset())
    found = stage.get(Job, job)
    assert (found.kind, found.teacher, found.status) == ("distill", None, "queued")
    assert (found.resolved or {})["teachers"] == [{"self": {"rounds": 3}}]
    assert [run.arm for run in stage.runs(job, "train")] == ["distilled", "no_teacher"]
    assert found.steps == (1 + 3 + 1) * 2 * 100
    stage.play()
    assert stage.status(job) == "succeeded"


def test_an_imagined_teacher_needs_none_at_all(stage: Stage) -> None:
    objective = [{"kind": "labels"}, {"kind": "virtual_teacher"}]
    job = submit(stage, teachers=[], dataset=stage.dataset(), objective=objective)
    assert [run.arm for run in stage.runs(job, "train")] == ["distilled", "no_teacher"]
    stage.play()
    assert stage.status(job) == "succeeded"


def test_given_weights_are_kept_while_the_job_is(stage: Stage) -> None:
    weights = stage.upload(b"weights of a student")
    init = {"kind": "given", "weights": {"blob": weights}}
    job = stage.job(students=[stage_module.STUDENT | {"init": init}])
    with stage.database.read() as session:
        owners = session.scalars(select(FileUse.owner).where(FileUse.sha256 == weights)).all()
        assert job in owners
        assert files.named_by(session, "default", weights) == [job]
    stage.play()
    stage.write(catalog.delete_job, "default", job, cascade=True)
    with stage.database.read() as session:
        assert session.scalars(select(FileUse).where(FileUse.owner == job)).all() == []


def test_weights_that_are_not_here_are_refused(stage: Stage) -> None:
    teacher, dataset = stage.teacher(), stage.dataset()
    for weights, error, field in (
        ({"blob": "0" * 64}, ReferenceNotFound, "students.0.init.weights.blob"),
        ({"uri": "file:///x"}, NotAvailable, "students.0.init.weights"),
    ):
        student = stage_module.STUDENT | {"init": {"kind": "given", "weights": weights}}
        with pytest.raises(error) as caught:
            submit(stage, teachers=[{"id": teacher}], dataset=dataset, students=[student])
        assert caught.value.field == field


def test_other_tenants_uploads_are_nobodys(stage: Stage) -> None:
    weights = stage.upload(b"theirs", tenant="other")
    student = stage_module.STUDENT | {"init": {"kind": "given", "weights": {"blob": weights}}}
    with pytest.raises(ReferenceNotFound):
        stage.job(students=[student])


def recorded(stage: Stage, dataset: str, kind: str = "logits") -> str:
    """A teacher that is known by its outputs, ready."""
    blob = stage.upload(f"what it says of {dataset}, as {kind}".encode())
    said = {"dataset": dataset, "blob": blob, "kind": kind}
    made = stage.validating_teacher(network={"family": "outputs"}, outputs=said, weights=None)
    facts = {"network": {"family": "outputs"}, "input": None, "parameters": None, "macs": None}
    stage.end_well(stage.take(), stage_module.teacher_facts() | facts)
    return made


MIX = {"augment": [{"kind": "mixup"}]}


@pytest.mark.parametrize(
    ("kind", "fields", "expected"),
    [
        ("logits", {"objective": [{"kind": "similarity"}]}, ("needs_features", "objective.0.kind")),
        (
            "logits",
            {"objective": [{"kind": "labels"}, {"kind": "parameter_ratio"}]},
            ("needs_features", "objective.1.kind"),
        ),
        ("labels", {}, ("teacher_has_no_logits", "objective.0.kind")),
        ("logits", {"training": MIX}, ("outputs_not_of_mixes", "training.augment")),
        (
            "logits",
            {"students": [stage_module.STUDENT | {"init": {"kind": "from_teacher"}}]},
            ("needs_teacher_weights", "students.0.init"),
        ),
        (
            "logits",
            {"students": [{"name": "small", "shrink": {"width": 0.5}}]},
            ("needs_teacher_weights", "students.0.shrink"),
        ),
    ],
)
def test_what_recorded_outputs_can_not_teach_is_refused(
    stage: Stage, kind: str, fields: dict[str, Any], expected: tuple[str, str]
) -> None:
    dataset = stage.dataset()
    teachers = [{"id": recorded(stage, dataset, kind)}]
    assert refused(stage, teachers=teachers, dataset=dataset, **fields) == expected


def test_recorded_outputs_teach_on_their_own_dataset_alone(stage: Stage) -> None:
    dataset, more = stage.dataset(), unlabelled(stage)
    teachers = [{"id": recorded(stage, dataset)}]
    submit(stage, teachers=teachers, dataset=dataset)
    other = stage.validating_dataset(name="other")
    stage.end_well(stage.take())
    assert refused(stage, teachers=teachers, dataset=other) == (
        "outputs_of_another_dataset",
        "teachers.0.id",
    )
    found = refused(stage, teachers=teachers, dataset=dataset, transfer=[more])
    assert found == ("outputs_not_of_transfer", "transfer")


@pytest.mark.parametrize("seen", ["validating", "ready"])
def test_an_unlabelled_set_is_for_transfer_alone(stage: Stage, seen: str) -> None:
    teacher = stage.teacher()
    made = stage.validating_dataset(name="bare", columns={"label": None})
    if seen == "ready":
        stage.end_well(stage.take())
    assert refused(stage, teachers=[{"id": teacher}], dataset=made) == (
        "labels_missing",
        "dataset",
    )


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {"teachers": [], "objective": [{"kind": "virtual_teacher"}, {"kind": "hard_targets"}]},
            ("needs_teacher", "objective.1.kind"),
        ),
        (
            {"teachers": [{"self": {}}], "students": [{"name": "a", "shrink": {"width": 0.5}}]},
            ("needs_teacher_weights", "students.0.shrink"),
        ),
    ],
)
def test_a_job_without_a_teacher_can_not_look_at_one(
    stage: Stage, fields: dict[str, Any], expected: tuple[str, str]
) -> None:
    assert refused(stage, dataset=stage.dataset(), **fields) == expected


def test_a_variant_is_checked_like_the_job_itself(stage: Stage) -> None:
    dataset = stage.dataset()
    teachers = [{"id": recorded(stage, dataset)}]
    sweep = {"kind": "grid", "parameters": {"/objective/0": [
        {"kind": "soft_targets"}, {"kind": "relations"},
    ]}}  # fmt: skip
    found = refused(stage, teachers=teachers, dataset=dataset, sweep=sweep)
    assert found == ("needs_features", "objective.0.kind")


def test_jobs_are_found_by_any_of_their_inputs(stage: Stage) -> None:
    dataset, first, second = stage.dataset(), stage.teacher(), stage.teacher(macs=1)
    more = unlabelled(stage)
    job = submit(stage, teachers=[{"id": first}, {"id": second}], dataset=dataset, transfer=[more])
    with stage.database.read() as session:
        for named in ({"teacher": first}, {"teacher": second}, {"dataset": more}):
            assert list(session.scalars(select(Job.id).where(inputs.names(**named)))) == [job]
        found = inputs.of_job(session, session.get_one(Job, job))
        assert [teacher.id for teacher in found.teachers] == [first, second]
        assert [one.id for one in found.transfer] == [more]
