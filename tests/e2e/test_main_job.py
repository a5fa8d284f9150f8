"""A checkpoint in, a student out, and the proof beside it; on both databases, woken both ways."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import timm
import torch
from numpy.typing import NDArray

from stillhouse.client import Client
from tests.e2e.conftest import job_spec, npz
from tests.servers import Service


@pytest.fixture(scope="session")
def finished(service: Service, prepared: dict[str, str]) -> dict[str, Any]:
    """A job with two students and two seeds, done."""
    spec = job_spec(
        prepared,
        seeds=2,
        students=[
            {"name": "small", "network": {"family": "builtin", "name": "resnet8"}},
            {"name": "timm", "network": {"family": "timm", "name": "test_resnet"}},
        ],
        metadata={"ticket": "ML-7"},
    )
    with Client(service.url) as client:
        job = client.wait(client.submit(spec)["id"])
        assert job["status"] == "succeeded", job["error"]
        return job


def test_the_result_has_every_arm_and_a_verdict_for_each_student(finished: dict[str, Any]) -> None:
    result = finished["result"]
    arms = {(arm["student"], arm["arm"]) for arm in result["arms"]}
    assert arms == {(s, a) for s in ("small", "timm") for a in ("distilled", "no_teacher")}
    for arm in result["arms"]:
        assert arm["seeds"] == [0, 1]
        assert arm["missing"] == []
        assert len(arm["students"]) == 2
        accuracies = arm["test"]["accuracy"]["values"]
        assert arm["gap"]["mean"] == pytest.approx(
            np.mean(arm["train"]["accuracy"]["values"]) - np.mean(accuracies)
        )
        assert {item["batch"] for item in arm["latency"]} == {1, 64}
    for comparison in result["comparisons"]:
        low, high = comparison["interval"]
        assert low <= comparison["difference"] <= high
        assert comparison["verdict"] in ("gain", "no_gain", "harm")
        assert comparison["provisional"] is True  # two seeds say little
        assert comparison["items"] == 120
    assert result["best"]["student"] in {s for arm in result["arms"] for s in arm["students"]}
    assert result["cost"]["teacher_forwards"] > 0


def test_every_run_succeeded_once(client: Client, finished: dict[str, Any]) -> None:
    runs = list(client.runs(finished["id"]))
    assert [run["kind"] for run in runs].count("train") == 8
    assert {run["status"] for run in runs} == {"succeeded"}
    assert {run["attempts"] for run in runs} == {1}


def test_curves_events_and_the_list_tell_the_same_job(
    client: Client, finished: dict[str, Any]
) -> None:
    names = {curve["name"] for curve in client.metrics(finished["id"])}
    assert {
        "loss", "loss.labels", "loss.soft_targets", "lr", "train_accuracy", "validation_accuracy",
        "validation_loss", "items_per_second",
    } <= names  # fmt: skip
    types = [event["type"] for event in client.events(finished["id"])]
    assert types[0] == "created"
    assert types[-1] == "succeeded"
    listed = client.jobs(metadata={"ticket": "ML-7"})
    assert finished["id"] in [job["id"] for job in listed]


def test_an_outsider_recomputes_the_accuracy_from_the_predictions(
    client: Client, finished: dict[str, Any], tmp_path: Path
) -> None:
    best = client.best(finished["id"])
    client.download(best["id"], tmp_path)
    with np.load(tmp_path / "predictions.npz", allow_pickle=False) as found:
        accuracy = float(np.mean(found["logits"].argmax(axis=1) == found["labels"]))
        rows = found["rows"].tolist()
    assert accuracy == best["metrics"]["test"]["accuracy"]
    assert rows == client.splits(finished["spec"]["dataset"])["test"]
    report = client.report(finished["id"])
    values = [
        dict(zip(arm["students"], arm["test"]["accuracy"]["values"], strict=True))
        for arm in report["result"]["arms"]
    ]
    assert accuracy == next(found[best["id"]] for found in values if best["id"] in found)


def test_an_outsider_reproduces_the_split_from_the_rule(
    client: Client, prepared: dict[str, str], digits: tuple[NDArray[Any], NDArray[Any]]
) -> None:
    expected: dict[str, list[int]] = {"train": [], "validation": [], "test": []}
    for label in range(10):
        rows = [row for row in range(600) if digits[1][row] == label]
        rows.sort(key=lambda row: hashlib.sha256(f"0:{row}".encode()).hexdigest())
        test, validation = int(0.2 * len(rows) + 0.5), int(0.1 * len(rows) + 0.5)
        expected["test"] += rows[:test]
        expected["validation"] += rows[test : test + validation]
        expected["train"] += rows[test + validation :]
    found = client.splits(prepared["dataset"])
    assert {part: found[part] for part in expected} == {
        part: sorted(rows) for part, rows in expected.items()
    }


def test_timm_loads_the_folder_and_gives_the_served_logits(
    service: Service, client: Client, finished: dict[str, Any], tmp_path: Path
) -> None:
    student = next(item for item in client.students(finished["id"]) if item["name"] == "timm")
    client.download(student["id"], tmp_path)
    network = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    part = _part(service, finished["spec"]["dataset"], "test")
    config = json.loads((tmp_path / "config.json").read_text())["pretrained_cfg"]
    pixels = torch.from_numpy(part["x"]).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(config[key]).view(1, -1, 1, 1) for key in ("mean", "std"))
    with torch.inference_mode():
        logits = network((pixels - mean) / std).numpy()
    with np.load(tmp_path / "predictions.npz") as served:
        np.testing.assert_allclose(logits, served["logits"], rtol=1e-4, atol=1e-5)
        assert (logits.argmax(1) == served["logits"].argmax(1)).all()


def test_the_archive_holds_the_listed_files(
    service: Service, client: Client, finished: dict[str, Any]
) -> None:
    student = client.best(finished["id"])
    body = _get(service, f"/v1/students/{student['id']}/archive").content
    with tarfile.open(fileobj=BytesIO(body)) as archive:
        found = {
            member.name.partition("/")[2]: hashlib.sha256(
                archive.extractfile(member).read()  # type: ignore[union-attr]  # regular files
            ).hexdigest()
            for member in archive.getmembers()
        }
    assert found == {file["path"]: file["sha256"] for file in student["files"]}
    assert {"model.safetensors", "config.json", "README.md", "report.json", "predictions.npz"} <= (
        set(found)
    )


def test_the_same_spec_gives_the_same_bytes(
    client: Client, prepared: dict[str, str], finished: dict[str, Any]
) -> None:
    again = client.wait(client.submit(job_spec(prepared))["id"])
    assert again["status"] == "succeeded", again["error"]
    assert _weights(client, again["id"], 0) == _weights(client, finished["id"], 0)


def test_classes_in_another_order_give_the_same_student(
    client: Client, material: Path, digits: tuple[NDArray[Any], NDArray[Any]]
) -> None:
    names = [f"digit {label}" for label in range(10)]
    turned = names[3:] + names[:3]
    pixels, labels = digits
    sha256 = client.put_blob(_saved(material, npz(x=pixels, y=(labels - 3) % 10)))
    dataset = client.create_dataset(
        {"name": "turned", "source": {"blob": sha256}, "classes": turned}
    )
    teacher = client.create_teacher(
        {
            "name": "named",
            "network": {"family": "builtin", "name": "resnet14"},
            "weights": {"blob": client.put_blob(material / "teacher.pt")},
            "input": {"size": [8, 8], "channels": "gray", "mean": [0.5], "std": [0.5]},
            "classes": names,
        }
    )
    for made in (dataset, teacher):
        assert client.wait_ready(made["id"])["status"] == "ready"
    spec = job_spec({"dataset": dataset["id"], "teacher": teacher["id"]}, controls=[])
    job = client.wait(client.submit(spec)["id"])
    assert job["status"] == "succeeded", job["error"]
    assert job["result"]["teachers"][0]["test"]["accuracy"] > 0.8


def test_the_service_trains_a_teacher_and_distils_it(
    client: Client, prepared: dict[str, str]
) -> None:
    teacher = client.create_teacher(
        {
            "name": "home-made",
            "network": {"family": "builtin", "name": "resnet8"},
            "train": {"dataset": prepared["dataset"], "training": {"epochs": 2, "batch_size": 32}},
        }
    )
    assert teacher["status"] == "training"
    # The job names a teacher that is still being made: it waits.
    spec = job_spec({"dataset": prepared["dataset"], "teacher": teacher["id"]}, controls=[])
    job = client.submit(spec)
    assert job["waiting"]["code"] == "inputs"
    ready = client.wait_ready(teacher["id"])
    assert ready["status"] == "ready", ready["error"]
    assert ready["trained_on"] == {
        "dataset": prepared["dataset"], "parts": ["train", "validation"],
    }  # fmt: skip
    assert client.job(ready["job"])["kind"] == "train"
    ended = client.wait(job["id"])
    assert ended["status"] == "succeeded", ended["error"]


def test_a_students_folder_is_a_teachers_folder(
    client: Client, finished: dict[str, Any], tmp_path: Path
) -> None:
    student = next(item for item in client.students(finished["id"]) if item["name"] == "timm")
    client.download(student["id"], tmp_path)
    named = {
        name: client.put_blob(tmp_path / name) for name in ("config.json", "model.safetensors")
    }
    teacher = client.create_teacher({"name": "from a Hub folder", "weights": {"files": named}})
    ready = client.wait_ready(teacher["id"])
    assert ready["status"] == "ready", ready["error"]
    assert ready["network"]["name"] == "test_resnet"
    assert ready["input"]["size"] == [8, 8]
    assert ready["input"]["mean"] == student["input"]["mean"]
    assert ready["classes"] == student["classes"]


def test_files_below_the_allowed_roots_are_taken_in_by_their_path(
    service: Service, client: Client, material: Path
) -> None:
    dataset = client.create_dataset(
        {"name": "by path", "source": {"uri": service.bring(material / "digits.npz")}}
    )
    teacher = client.create_teacher(
        {
            "name": "by path",
            "network": {"family": "builtin", "name": "resnet14"},
            "weights": {"uri": service.bring(material / "teacher.pt")},
            "input": {"size": [8, 8], "channels": "gray"},
        }
    )
    for made in (dataset, teacher):
        ready = client.wait_ready(made["id"])
        assert ready["status"] == "ready", ready["error"]


def test_an_estimate_checks_the_networks_and_creates_nothing(
    client: Client, prepared: dict[str, str]
) -> None:
    before = [job["id"] for job in client.jobs()]
    estimate = client.estimate(job_spec(prepared, seeds=3))
    assert estimate["students"][0]["parameters"] > 0
    assert estimate["seconds"]["high"] >= estimate["seconds"]["low"] > 0
    assert estimate["resolved"]["seeds"] == [0, 1, 2]
    assert [job["id"] for job in client.jobs()] == before


def test_the_worker_publishes_what_it_can_build(service: Service) -> None:
    found = _get(service, "/v1/networks", query="resnet8x4").json()
    assert [item["id"] for item in found["data"]] == ["builtin/resnet8x4"]
    worker = _get(service, "/v1/workers").json()["data"][0]
    assert worker["status"] in ("ready", "busy")
    assert worker["memory_bytes"] > 0


def _weights(client: Client, job: str, seed: int) -> dict[str, str]:
    return {
        student["arm"]: next(
            file["sha256"] for file in student["files"] if file["path"] == "model.safetensors"
        )
        for student in client.students(job)
        if student["seed"] == seed and student["name"] == "small"
    }


def _part(service: Service, dataset: str, part: str) -> dict[str, NDArray[Any]]:
    body = _get(service, f"/v1/datasets/{dataset}/parts/{part}.npz").content
    with np.load(BytesIO(body), allow_pickle=False) as found:
        return dict(found)


def _get(service: Service, path: str, **params: str) -> httpx.Response:
    """What a user without the client sees, with the key of whoever runs the tests."""
    key = os.environ.get("STILLHOUSE_KEY")
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    url = f"{service.url}{path}"
    return httpx.get(url, params=params, headers=headers, follow_redirects=True, timeout=30)


def _saved(folder: Path, body: bytes) -> Path:
    path = folder / f"{hashlib.sha256(body).hexdigest()[:8]}.npz"
    path.write_bytes(body)
    return path
