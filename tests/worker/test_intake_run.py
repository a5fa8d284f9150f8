"""Intakes from the claim to the catalogue: what lies on the Hub, and what is matched with rows."""

from __future__ import annotations

import io
import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from core import files, leases
from core.db import Database
from core.settings import Settings
from core.storage import LocalStorage
from core.tables import Run, Teacher
from stillhouse.errors import InputRejected, ReferenceNotFound
from tests import hub_server, text_folder
from tests.hub_server import COMMIT, Hub
from tests.stage import CLASSES, Stage, dataset_facts
from worker import hub_fetch, intake_run
from worker.bench import Bench
from worker.intake_run import IntakeRun

URI = "hf://org/name@main"
ROWS = 4


@pytest.fixture
def stage(migrated_sqlite: Path, tmp_path: Path) -> Iterator[Stage]:
    shutil.copy(migrated_sqlite, tmp_path / "stillhouse.db")
    database = Database(f"sqlite:///{tmp_path / 'stillhouse.db'}")
    yield Stage(database, LocalStorage(tmp_path / "storage"))
    database.close()


@pytest.fixture
def hub() -> Iterator[Hub]:
    with hub_server.serve() as hub:
        yield hub


def work(stage: Stage, **settings: Any) -> Run:
    """Claim the first run in line, do it, and return it as it is then."""
    lease = stage.take()
    bench = Bench(
        lease=lease,
        database=stage.database,
        storage=stage.storage,
        settings=Settings(**settings),
        stopping=threading.Event(),
        folder=stage.storage.scratch / "work" / lease.run.id / str(lease.fence),
    )
    for folder in (bench.work, bench.inputs):
        folder.mkdir(parents=True)
    IntakeRun(bench).work()
    return stage.get(Run, lease.run.id)


def from_the_hub(stage: Stage) -> str:
    return stage.validating_teacher(network=None, weights={"uri": URI})


def test_a_text_teacher_comes_from_the_hub_with_its_tokenizer(
    stage: Stage, hub: Hub, tmp_path: Path
) -> None:
    text_folder.write(tmp_path / "saved")
    hub.repositories["models/org/name"] = {
        path.name: path.read_bytes() for path in (tmp_path / "saved").iterdir()
    }
    made = from_the_hub(stage)
    work(stage, hub_endpoint=hub.url)
    teacher = stage.get(Teacher, made)
    assert (teacher.status, teacher.error) == ("ready", None)
    assert teacher.classes == text_folder.CLASSES
    assert teacher.spec["weights"] == {"uri": f"hf://org/name@{COMMIT}"}
    assert teacher.input is not None
    kept = teacher.input["tokenizer"]
    assert set(kept) == {"tokenizer.json", "tokenizer_config.json"}
    for sha256 in (teacher.sha256, *kept.values()):
        assert stage.storage.has(str(sha256))
        assert stage.write(files.owners, sha256) == [made]


def test_a_hub_that_is_away_is_asked_again_but_not_for_ever(stage: Stage, hub: Hub) -> None:
    hub.is_down = True
    made = from_the_hub(stage)
    run = work(stage, hub_endpoint=hub.url)
    assert run.status == "queued"
    assert run.not_before > 0
    assert stage.get(Teacher, made).status == "validating"
    with stage.database.write() as session:
        again = session.get_one(Run, run.id)
        again.not_before, again.attempts = 0.0, intake_run.HUB_TRIES - 1
    work(stage, hub_endpoint=hub.url)
    teacher = stage.get(Teacher, made)
    assert teacher.status == "rejected"
    assert teacher.error is not None
    assert teacher.error["code"] == hub_fetch.UNAVAILABLE


def test_what_the_hub_does_not_have_is_refused_at_once(stage: Stage, hub: Hub) -> None:
    made = from_the_hub(stage)
    work(stage, hub_endpoint=hub.url)
    error = stage.get(Teacher, made).error
    assert error is not None
    assert (error["code"], error["field"]) == ("hub_not_found", "uri")


def outputs_of(dataset: str, blob: str) -> dict[str, Any]:
    told = {"dataset": dataset, "blob": blob, "kind": "logits"}
    return {"network": {"family": "outputs"}, "weights": None, "outputs": told}


def ready_dataset(stage: Stage) -> str:
    """A dataset of four rows whose ids are letters."""
    made = stage.validating_dataset()
    ids = io.BytesIO()
    np.savez(ids, ids=np.asarray(list("abcd")))
    splits = json.dumps({"train": [0, 3], "validation": [1], "test": [2]}).encode()
    listed = [
        {"path": "splits.json"} | stage.put(splits),
        {"path": "ids.npz"} | stage.put(ids.getvalue()),
    ]
    stage.write(leases.succeed, stage.take(), dataset_facts(), listed)
    return made


def upload_outputs(stage: Stage) -> str:
    content = io.BytesIO()
    logits = np.arange(12, dtype=np.float32).reshape(ROWS, 3)
    np.savez(content, outputs=logits[::-1], ids=np.asarray(list("dcba")))
    return stage.upload(content.getvalue())


def test_outputs_become_a_teacher_by_the_ids_of_their_dataset(stage: Stage) -> None:
    made = stage.validating_teacher(**outputs_of(ready_dataset(stage), upload_outputs(stage)))
    work(stage)
    teacher = stage.get(Teacher, made)
    assert (teacher.status, teacher.error) == ("ready", None)
    assert (teacher.network, teacher.input) == ({"family": "outputs"}, None)
    assert teacher.class_count == len(CLASSES)
    content = b"".join(stage.storage.read(str(teacher.sha256), 0, int(teacher.bytes or 0)))
    with np.load(io.BytesIO(content)) as kept:
        np.testing.assert_array_equal(kept["outputs"], np.arange(12).reshape(ROWS, 3))


def test_outputs_need_a_dataset_that_is_ready(stage: Stage) -> None:
    blob = upload_outputs(stage)
    with pytest.raises(ReferenceNotFound):
        stage.validating_teacher(**outputs_of("ds_" + "0" * 26, blob))
    waiting = stage.validating_dataset()
    with pytest.raises(InputRejected) as caught:
        stage.validating_teacher(**outputs_of(waiting, blob))
    assert caught.value.rejected_code == "dataset_not_ready"
