"""What a trainer is told of a job's runs."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core import plan, runs, submissions
from core.db import Database
from core.leases import Lease
from core.settings import Settings
from core.storage import open_storage
from core.submissions import Submission
from core.tables import Job
from stillhouse.spec import JobSpec
from tests import stage as stage_module
from tests.stage import Stage
from worker import assignments
from worker.inputs import Inputs
from worker.protocol import Assignment

TEMPERATURE = "/objective/0/temperature"
SWEEP = {"kind": "grid", "parameters": {TEMPERATURE: [1, 4]}}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data")


@pytest.fixture
def stage(migrated_sqlite: Path, tmp_path: Path, settings: Settings) -> Iterator[Stage]:
    shutil.copy(migrated_sqlite, tmp_path / "one.db")
    database = Database(f"sqlite:///{tmp_path / 'one.db'}")
    yield Stage(database, open_storage(settings))
    database.close()


def told(stage: Stage, lease: Lease, settings: Settings) -> Assignment:
    inputs = Inputs(stage.storage, settings.data_dir / "inputs")
    with stage.database.read() as session:
        made = assignments.for_trainer(
            session, lease.run, inputs, settings, work=settings.data_dir, device="cpu", threads=2
        )
    inputs.bring()
    return made


def temperatures(assignment: Assignment) -> list[Any]:
    return [one["spec"]["objective"][0]["temperature"] for one in assignment["variants"]]


def test_each_run_of_a_sweep_is_told_its_own_spec_and_the_others_all_of_them(
    stage: Stage, settings: Settings
) -> None:
    stage.job(sweep=SWEEP)
    prepare = stage.take()
    first = told(stage, prepare, settings)
    assert [one["name"] for one in first["variants"]] == ["v1", "v2"]
    assert [one["changes"] for one in first["variants"]] == [{TEMPERATURE: 1}, {TEMPERATURE: 4}]
    assert temperatures(first) == [1, 4]
    stage.end_well(prepare)
    found = {}
    while (lease := stage.take()).run.kind == "train":
        made = told(stage, lease, settings)
        found[made["arm"], made["variant"]] = made["spec"]["objective"][0]["temperature"]
        assert (made["variants"], made["spec"]["sweep"]) == ([], None)
        stage.end_well(lease)
    assert found == {("distilled", "v1"): 1, ("distilled", "v2"): 4, ("no_teacher", None): 1}
    report = told(stage, lease, settings)
    assert temperatures(report) == [1, 4]
    assert report["context"]["sweep"]["parameters"] == SWEEP["parameters"]
    assert [one["variant"] for one in report["students"]] == ["v1", None, "v2"]


def test_a_job_without_a_sweep_is_its_only_variant(stage: Stage, settings: Settings) -> None:
    stage.job()
    made = told(stage, stage.take(), settings)
    assert [(one["name"], one["spec"]) for one in made["variants"]] == [(None, made["spec"])]


def test_teachers_transfer_sets_and_files_are_named_by_path(
    stage: Stage, settings: Settings
) -> None:
    weights, vocabulary = stage.upload(b"weights"), stage.upload(b"tokenizer")
    tokenizer = {"modality": "text", "max_length": 9, "tokenizer": {"tokenizer.json": vocabulary}}
    texts = {"modality": "text"}
    dataset = stage.validating_dataset(modality="text")
    stage.end_well(stage.take(), stage_module.dataset_facts() | {"input": texts})
    more = stage.validating_dataset(modality="text", name="more", columns={"label": None})
    rows = {"train": 0, "validation": 0, "test": 0, "unlabelled": 7}
    stage.end_well(stage.take(), stage_module.dataset_facts() | {"input": texts, "rows": rows})
    names = ("owl", "cat", "eel", "dog")
    second = stage.teacher(classes=names, input=tokenizer)
    init = {"kind": "given", "weights": {"blob": weights}}
    spec = JobSpec.model_validate({
        "teachers": [{"id": stage.teacher(input=tokenizer)},
                     {"id": second, "class_map": {"dog": "eel"}}],
        "dataset": dataset, "transfer": [more],
        "students": [stage_module.STUDENT | {"init": init}],
    })  # fmt: skip
    stage.write(submissions.create, Submission("default", spec))
    made = told(stage, stage.take(), settings)
    assert [one["class_order"] for one in made["teachers"]] == [None, [1, 2, 0]]
    assert set(made["files"]) == {weights, vocabulary}
    assert Path(made["files"][vocabulary]).read_bytes() == b"tokenizer"
    (transfer,) = made["transfer"]
    assert (transfer["id"], list(transfer["parts"])) == (more, ["train"])
    assert made["context"]["transfer_rows"] == 7
    assert made["spec"]["students"][0]["input"]["tokenizer"] == {"tokenizer.json": vocabulary}


def test_an_estimate_is_told_every_variant(stage: Stage, settings: Settings) -> None:
    spec = JobSpec.model_validate(
        stage_module.job_spec(stage.teacher(), stage.dataset(), sweep=SWEEP)
    )
    with stage.database.write() as session:
        found, _ = submissions.check(session, "default", spec)
        runs.add_estimate(session, "default", *plan.settle(spec, found))
    made = told(stage, stage.take(), settings)
    assert temperatures(made) == [1, 4]
    assert made["spec"] == made["variants"][0]["spec"]


def test_a_job_that_an_older_version_resolved_goes_on(stage: Stage, settings: Settings) -> None:
    job = stage.job()
    with stage.database.write() as session:
        row = session.get_one(Job, job)
        old = dict(row.resolved or {})
        for name in ("transfer", "combine", "sweep", "exports"):
            del old[name]
        student = {key: old["students"][0][key] for key in ("name", "network", "input")}
        row.resolved = old | {"students": [student], "teachers": [{"id": row.teacher}]}
    while (lease := stage.take()).run.kind != "report":
        made = told(stage, lease, settings)
        assert (made["transfer"], made["spec"]["sweep"]) == ([], None)
        stage.end_well(lease)
