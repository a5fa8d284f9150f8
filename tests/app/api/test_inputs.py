"""Teachers and datasets: what jobs are made of."""

from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from core.settings import Settings
from tests import stage as stage_module
from tests.stage import NETWORK, Stage

NAMED = {"object", "id", "name", "metadata", "tenant", "created_by", "created_at"}


@pytest.fixture
def imports(settings: Settings) -> Path:
    folder = settings.roots[0]
    (folder / "data.npz").write_bytes(b"x")
    (folder / "out").symlink_to("/etc/passwd")
    return folder


def test_a_teacher_is_taken_in_and_looked_at(client: TestClient, stage: Stage) -> None:
    blob = stage.upload(b"weights")
    spec = {"name": "t", "network": NETWORK, "weights": {"blob": blob}, "metadata": {"a": "b"}}
    response = client.post("/v1/teachers", json=spec)
    assert response.status_code == 202
    made = response.json()
    assert set(made) == NAMED | {
        "status", "error", "job", "network", "input", "classes", "trained_on", "parameters",
        "macs", "bytes", "sha256", "warnings", "weights", "outputs", "train",
    }  # fmt: skip
    assert (made["object"], made["status"], made["trained_on"]) == (
        "teacher", "validating", "unknown",
    )  # fmt: skip
    assert response.headers["location"] == f"/v1/teachers/{made['id']}"
    stage.play()
    ready = client.get(f"/v1/teachers/{made['id']}").json()
    assert (ready["status"], ready["parameters"]) == ("ready", 1234)
    assert ready["sha256"] != blob


def test_a_dataset_is_taken_in_and_can_be_read(client: TestClient, stage: Stage) -> None:
    spec = {"name": "d", "source": {"blob": stage.upload(b"rows")}}
    response = client.post("/v1/datasets", json=spec)
    assert response.status_code == 202
    made = response.json()
    assert set(made) == NAMED | {
        "status", "error", "task", "modality", "format", "classes", "input", "rows",
        "class_counts", "duplicates", "bytes", "fingerprint", "test_opened", "splits", "columns",
        "source", "warnings",
    }  # fmt: skip
    path = f"/v1/datasets/{made['id']}"
    for early in ("splits", "preview", "parts/test.npz"):
        assert client.get(f"{path}/{early}").status_code == 404
    stage.play()
    assert client.get(path).json()["rows"]["train"] == 60
    splits = client.get(f"{path}/splits")
    assert splits.json() == {"train": [0]}
    tag = {"if-none-match": splits.headers["etag"]}
    assert client.get(f"{path}/splits", headers=tag).status_code == 304
    stage.storage.delete(splits.headers["etag"].strip('"'))
    assert client.get(f"{path}/splits").json()["code"] == "not_found"
    part = client.get(f"{path}/parts/test.npz")
    assert part.content == f"test.npz of {made['id']}".encode()
    assert client.head(f"{path}/parts/test.npz").headers["etag"] == part.headers["etag"]
    assert client.get(f"{path}/parts/all.npz").status_code == 422
    assert client.get(f"{path}/preview").json()["data"] == []


@pytest.mark.parametrize("kind", ["teachers", "datasets"])
def test_a_rejected_input_says_why(client: TestClient, stage: Stage, kind: str) -> None:
    making = stage.validating_teacher if kind == "teachers" else stage.validating_dataset
    made = making()
    tensors = {"missing": ["a"], "total": 1}
    stage.fail(stage.take(), "teacher_mismatch", tensors=tensors)
    body = client.get(f"/v1/{kind}/{made}").json()
    assert body["status"] == "rejected"
    assert body["error"] == {
        "code": "teacher_mismatch",
        "detail": "It teacher_mismatch.",
        "tensors": tensors,
    }


@pytest.mark.parametrize("kind", ["teachers", "datasets"])
def test_name_and_metadata_can_be_changed(client: TestClient, stage: Stage, kind: str) -> None:
    making = stage.validating_teacher if kind == "teachers" else stage.validating_dataset
    path = f"/v1/{kind}/{making()}"
    before = client.get(path)
    changed = client.patch(path, json={"name": "other", "metadata": {"k": "v"}})
    assert (changed.json()["name"], changed.json()["metadata"]) == ("other", {"k": "v"})
    assert changed.headers["etag"] != before.headers["etag"]
    assert client.patch(path, json={"weights": None}).status_code == 422
    assert client.delete(path).status_code == 204
    assert client.get(path).status_code == 404


def spec_of(kind: str, reference: dict[str, Any]) -> dict[str, Any]:
    if kind == "teachers":
        return {"name": "x", "network": NETWORK, "weights": reference}
    return {"name": "x", "source": reference}


@pytest.mark.parametrize("kind", ["teachers", "datasets"])
def test_a_path_below_an_allowed_root_is_taken(
    client: TestClient, imports: Path, kind: str
) -> None:
    reference = {"uri": f"file://{imports}/data.npz"}
    assert client.post(f"/v1/{kind}", json=spec_of(kind, reference)).status_code == 202


@pytest.mark.parametrize("kind", ["teachers", "datasets"])
@pytest.mark.parametrize(
    "path", ["/../stillhouse.db", "/..%2fstillhouse.db", "/%2e%2e/stillhouse.db", "/out"]
)
def test_a_path_outside_is_refused(client: TestClient, imports: Path, kind: str, path: str) -> None:
    reference = {"uri": f"file://{imports}{path}"}
    response = client.post(f"/v1/{kind}", json=spec_of(kind, reference))
    assert (response.status_code, response.json()["code"]) == (422, "path_not_allowed")


@pytest.mark.parametrize("path", ["/missing", "/a%00b", "/" + "n" * 300])
def test_a_path_that_is_not_there_is_not_found(
    client: TestClient, imports: Path, path: str
) -> None:
    reference = {"uri": f"file://{imports}{path}"}
    response = client.post("/v1/datasets", json=spec_of("datasets", reference))
    assert (response.status_code, response.json()["code"]) == (422, "not_found")


def test_parts_may_come_from_several_places(
    client: TestClient, imports: Path, stage: Stage
) -> None:
    parts = {"train": {"blob": stage.upload(b"t")}, "test": {"uri": f"file://{imports}/data.npz"}}
    assert client.post("/v1/datasets", json=spec_of("datasets", parts)).status_code == 202
    parts["test"] = {"uri": "file:///etc/passwd"}
    response = client.post("/v1/datasets", json=spec_of("datasets", parts))
    assert response.json()["code"] == "path_not_allowed"


def test_a_hub_folder_is_taken_as_its_files(client: TestClient, stage: Stage) -> None:
    named = {"config.json": stage.upload(b"{}"), "model.safetensors": stage.upload(b"w")}
    response = client.post("/v1/teachers", json={"name": "t", "weights": {"files": named}})
    assert response.status_code == 202
    used = client.delete(f"/v1/blobs/{named['config.json']}")
    assert used.json()["used_by"] == [response.json()["id"]]
    missing = {"files": named | {"other.json": "0" * 64}}
    refused = client.post("/v1/teachers", json={"name": "t", "weights": missing})
    assert (refused.status_code, refused.json()["code"]) == (422, "not_found")


def test_a_teacher_can_be_trained_here(client: TestClient, stage: Stage) -> None:
    dataset = stage.dataset()
    spec = {"name": "home", "network": NETWORK, "train": {"dataset": dataset}}
    made = client.post("/v1/teachers", json=spec).json()
    assert made["status"] == "training"
    assert client.get(f"/v1/jobs/{made['job']}").json()["kind"] == "train"
    response = client.delete(f"/v1/teachers/{made['id']}")
    assert (response.status_code, response.json()["used_by"]) == (409, [made["job"]])
    stage.play()
    ready = client.get(f"/v1/teachers/{made['id']}").json()
    assert (ready["status"], ready["trained_on"]["dataset"]) == ("ready", dataset)
    missing = spec | {"train": {"dataset": "ds_" + "0" * 26}}
    assert client.post("/v1/teachers", json=missing).json()["code"] == "not_found"


def test_jobs_with_the_same_test_part_are_counted(client: TestClient, stage: Stage) -> None:
    teacher, dataset = stage.teacher(), stage.dataset()
    for _ in range(2):
        spec = stage_module.job_spec(teacher, dataset)
        assert client.post("/v1/jobs", json=spec).status_code == 201
        stage.play()
    assert client.get(f"/v1/datasets/{dataset}").json()["test_opened"] == 2
