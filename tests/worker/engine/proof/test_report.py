"""The report run on scikit-learn's digits, with students as train runs leave them."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from sklearn.datasets import load_digits
from torch import nn

from stillhouse.errors import RunFailed
from stillhouse.spec import InputSpec, NetworkSpec
from worker.engine import networks
from worker.engine.proof import report
from worker.engine.serving import student_folder
from worker.protocol import Assignment, Message, TrainedStudent

CLASSES = [str(digit) for digit in range(10)]
INPUT = {"size": [8, 8], "channels": "gray", "mean": [0.3], "std": [0.4]}
LARGE_INPUT = {"size": [24, 24], "channels": "gray", "mean": [0.3], "std": [0.4]}
STUDENTS = {
    "plain": ({"family": "builtin", "name": "mlp", "options": {"hidden": [24]}}, INPUT),
    "known": ({"family": "timm", "name": "test_resnet", "options": {}}, LARGE_INPUT),
    "wide": ({"family": "builtin", "name": "mlp", "options": {"hidden": [96]}}, INPUT),
}
STEPS = {
    ("plain", "distilled"): 60,
    ("plain", "no_teacher"): 4,
    ("wide", "distilled"): 2,
    ("wide", "no_teacher"): 150,
}
TEACHER = "tch_" + "t" * 26
DATASET = "ds_" + "d" * 26
SEEDS = (4, 0)
SHARES = {"train": (0, 300), "validation": (300, 400), "test": (400, 520)}


def _write_parts(folder: Path) -> dict[str, str]:
    digits = load_digits()
    images = (digits.images / 16 * 255).astype(np.uint8)[..., None]
    paths = {}
    for name, (start, stop) in SHARES.items():
        paths[name] = str(folder / f"{name}.npz")
        rows = np.arange(start, stop, dtype=np.int64)
        labels = digits.target[start:stop].astype(np.int64)
        np.savez(paths[name], x=images[start:stop], y=labels, rows=rows)
    return paths


def _network(spec: dict[str, Any], fed: dict[str, Any], *, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return networks.build(
        NetworkSpec.model_validate(spec), classes=10, fed=InputSpec.model_validate(fed)
    )


def _fit(network: nn.Module, fed: dict[str, Any], *, steps: int) -> None:
    digits = load_digits()
    images = torch.tensor(digits.images[:300] / 16, dtype=torch.float32)[:, None]
    images = F.interpolate(images, size=tuple(fed["size"]))
    labels = torch.tensor(digits.target[:300])
    optimizer = torch.optim.Adam(network.parameters(), lr=3e-3)
    network.train()
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(network((images - 0.3) / 0.4), labels).backward()  # type: ignore[no-untyped-call]  # torch leaves it so
        optimizer.step()


def _student(folder: Path, name: str, arm: str, seed: int) -> TrainedStudent:
    spec, fed = STUDENTS[name]
    network = _network(spec, fed, seed=seed)
    _fit(network, fed, steps=STEPS.get((name, arm), 0))
    student = f"stu_{name}-{arm}-{seed}"
    written = student_folder.write(
        folder / student,
        network,
        spec=NetworkSpec.model_validate(spec),
        input=InputSpec.model_validate(fed),
        classes=CLASSES,
    )
    history = [{"epoch": 0, "step": 150, "validation": {"accuracy": 0.5}}]
    return {
        "id": student,
        "student": name,
        "arm": arm,
        "variant": None,
        "fold": None,
        "seed": seed,
        "files": {file.name: str(file) for file in written},
        "result": {
            "best_epoch": 0,
            "history": history,
            "train_seconds": 2.0,
            "teacher_forwards": 300,
            "store_hits": 7,
        },
    }


def _teacher(folder: Path) -> dict[str, Any]:
    """A teacher whose outputs stand in the reverse order of the dataset's classes."""
    spec = {"family": "builtin", "name": "mlp", "options": {"hidden": [64]}}
    network = _network(spec, INPUT, seed=1)
    _fit(network, INPUT, steps=80)
    weights = {
        name: tensor.flip(0).contiguous() if name.startswith("head") else tensor
        for name, tensor in network.state_dict().items()
    }
    safetensors.torch.save_file(weights, folder / "teacher.safetensors")
    return {
        "id": TEACHER,
        "network": spec,
        "input": INPUT,
        "classes": CLASSES[::-1],
        "class_order": list(range(10))[::-1],
        "trained_on": {"dataset": DATASET, "parts": ["train"]},
        "weights": str(folder / "teacher.safetensors"),
        "outputs": None,
        "outputs_kind": None,
        "bytes": (folder / "teacher.safetensors").stat().st_size,
    }


def _assignment(folder: Path) -> Assignment:
    students = [
        _student(folder, name, arm, seed)
        for name in STUDENTS
        for arm in ("distilled", "no_teacher")
        for seed in sorted(SEEDS)
        if (name, arm, seed) != ("known", "no_teacher", 4)
    ]
    spec = {
        "teachers": [{"id": TEACHER}],
        "dataset": DATASET,
        "students": [
            {"name": name, "network": network, "input": fed}
            for name, (network, fed) in STUDENTS.items()
        ],
        "seeds": list(SEEDS),
    }
    lost = {"student": "known", "arm": "no_teacher", "seed": 4, "code": "diverged", "detail": "…"}
    (folder / "work").mkdir()
    return {
        "type": "run",
        "kind": "report",
        "run": "run_r",
        "job": "job_j",
        "job_kind": "distill",
        "spec": spec,
        "variants": [],
        "student": None,
        "arm": None,
        "variant": None,
        "seed": None,
        "teachers": [_teacher(folder)],  # type: ignore[list-item]  # plain data, as from a pipe
        "dataset": {
            "id": DATASET,
            "classes": CLASSES,
            "fingerprint": "f" * 64,
            "parts": _write_parts(folder),
        },
        "transfer": [],
        "files": {},
        "students": students,
        "prepared": {"teacher_forwards": 400, "store_hits": 0, "seconds": 1.5},
        "missing": [lost],
        "context": {
            "version": "0.1.0",
            "test_opened": 2,
            "teacher_names": ["digits-mlp"],
            "warnings": [],
        },
        "work": str(folder / "work"),
        "checkpoint": None,
        "checkpoint_seconds": 60.0,
        "device": "cpu",
        "threads": 1,
    }


class Reported:
    """A report run, with all that it said and wrote."""

    def __init__(self, assignment: Assignment) -> None:
        self.assignment = assignment
        self.said: list[Message] = []
        self.message, listing = report.make(assignment, say=self.said.append)
        self.result = self.message["result"]
        self.files = dict(listing)

    def arm(self, student: str, arm: str) -> dict[str, Any]:
        found = [a for a in self.result["arms"] if (a["student"], a["arm"]) == (student, arm)]
        (one,) = found
        assert isinstance(one, dict)
        return one

    def predictions(self, student: str) -> dict[str, np.ndarray[Any, Any]]:
        with np.load(self.files[f"{student}/predictions.npz"]) as stored:
            return dict(stored)


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """Networks this small lose more by sharing the work than they gain."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def reported(tmp_path_factory: pytest.TempPathFactory) -> Reported:
    return Reported(_assignment(tmp_path_factory.mktemp("report")))


def test_an_outsider_recomputes_every_test_accuracy_to_the_last_digit(reported: Reported) -> None:
    for arm in reported.result["arms"]:
        for student, reported_accuracy in zip(
            arm["students"], arm["test"]["accuracy"]["values"], strict=True
        ):
            stored = reported.predictions(student)
            recomputed = float((stored["logits"].argmax(axis=1) == stored["labels"]).mean())
            assert recomputed == reported_accuracy
            assert stored["rows"].tolist() == list(range(400, 520))
            assert stored["logits"].dtype == np.float32


def test_a_student_is_measured_from_its_file_as_a_stranger_would_load_it(
    reported: Reported,
) -> None:
    program = next(
        student["files"]["model.pt2"]
        for student in reported.assignment["students"]
        if student["id"] == "stu_plain-distilled-4"
    )
    network = torch.export.load(program).module()  # noqa: TID251 - made by this very test
    images = load_digits().images[400:520] / 16 * 255
    pixels = torch.tensor(images.astype(np.uint8))[:, None].float() / 255
    with torch.inference_mode():
        logits = network((pixels - 0.3) / 0.4)
    theirs = reported.predictions("stu_plain-distilled-4")["logits"]
    np.testing.assert_allclose(logits.numpy(), theirs, rtol=1e-5, atol=1e-5)


def test_arms_follow_the_job_and_seeds_its_order(reported: Reported) -> None:
    arms = [(arm["student"], arm["arm"]) for arm in reported.result["arms"]]
    assert arms == [(s, a) for s in STUDENTS for a in ("distilled", "no_teacher")]
    arm = reported.arm("plain", "distilled")
    assert arm["seeds"] == list(SEEDS)
    assert arm["students"] == ["stu_plain-distilled-4", "stu_plain-distilled-0"]
    first, second = arm["test"]["accuracy"]["values"]
    assert arm["test"]["accuracy"]["mean"] == pytest.approx((first + second) / 2)
    assert arm["test"]["accuracy"]["std"] == pytest.approx(abs(first - second) / math.sqrt(2))


def test_a_lost_seed_is_listed_and_only_common_seeds_are_compared(reported: Reported) -> None:
    arm = reported.arm("known", "no_teacher")
    assert arm["seeds"] == [0]
    assert arm["missing"] == [{"seed": 4, "code": "diverged", "detail": "…"}]
    assert arm["test"]["accuracy"]["std"] is None
    comparison = reported.result["comparisons"][1]
    assert (comparison["student"], comparison["seeds"]) == ("known", 1)
    assert "runs_missing" in {warning["code"] for warning in reported.result["warnings"]}


def test_the_gap_is_train_less_test_accuracy(reported: Reported) -> None:
    arm = reported.arm("plain", "no_teacher")
    for gap, train, test in zip(
        arm["gap"]["values"],
        arm["train"]["accuracy"]["values"],
        arm["test"]["accuracy"]["values"],
        strict=True,
    ):
        assert gap == train - test


def test_a_teacher_in_another_class_order_is_read_in_the_datasets(reported: Reported) -> None:
    (teacher,) = reported.result["teachers"]
    assert teacher["id"] == TEACHER
    assert teacher["train"]["accuracy"] > 0.95
    assert teacher["gap"] == teacher["train"]["accuracy"] - teacher["test"]["accuracy"]
    assert reported.arm("plain", "distilled")["agreement"]["mean"] > 0.7
    assert teacher["parameters"] == 64 * 64 + 64 + 64 * 10 + 10


def test_better_trained_students_gain_and_the_best_is_distilled(reported: Reported) -> None:
    comparison = reported.result["comparisons"][0]
    assert comparison["student"] == "plain"
    assert comparison["items"] == 120
    assert comparison["difference"] > 0.1
    assert comparison["provisional"] is True
    best = reported.result["best"]
    arm = reported.arm("plain", "distilled")
    values = arm["validation"]["accuracy"]["values"]
    assert best["student"] in {
        s for s, v in zip(arm["students"], values, strict=True) if v == max(values)
    }


def test_a_control_is_never_the_best_however_good(reported: Reported) -> None:
    control = reported.arm("wide", "no_teacher")["validation"]["accuracy"]["values"]
    assert min(control) > max(
        reported.arm("plain", "distilled")["validation"]["accuracy"]["values"]
    )
    assert "distilled" in reported.result["best"]["student"]
    assert "of the 6 distilled students" in reported.result["best"]["why"]
    (warning,) = [w for w in reported.result["warnings"] if w["code"] == "control_is_ahead"]
    assert f"accuracy {max(control):.4f} against" in warning["message"]
    assert reported.result["comparisons"][2]["difference"] < -0.1


def test_costs_are_summed_over_the_jobs_runs(reported: Reported) -> None:
    cost = reported.result["cost"]
    assert cost["teacher_forwards"] == 400 + 11 * 300 + 520
    assert cost["store_hits"] == 11 * 7
    assert cost["stages"]["prepare"] == 1.5
    assert cost["stages"]["train"] == 22.0
    assert cost["stages"]["report"] > 0


def test_latency_names_the_machine_and_both_batches(reported: Reported) -> None:
    for holder in (*reported.result["arms"], *reported.result["teachers"]):
        assert [item["batch"] for item in holder["latency"]] == [1, 64]
        for item in holder["latency"]:
            assert item["device"] == "cpu"
            assert item["hardware"]
            assert 0 < item["median_ms"] <= item["p95_ms"]


def test_arms_of_one_student_share_one_measurement_of_latency(reported: Reported) -> None:
    for student in STUDENTS:
        distilled, control = (reported.arm(student, arm) for arm in ("distilled", "no_teacher"))
        assert distilled["latency"] == control["latency"]
    assert (
        reported.arm("plain", "distilled")["latency"]
        != (reported.arm("known", "distilled")["latency"])
    )


def test_nothing_in_the_message_is_beyond_json(reported: Reported) -> None:
    assert json.loads(json.dumps(reported.message, allow_nan=False)) == reported.message
    assert set(reported.message["students"]) == {s["id"] for s in reported.assignment["students"]}
    assert set(reported.message["students"]["stu_plain-distilled-0"]) == {
        "train", "validation", "test",
    }  # fmt: skip


def test_each_student_gets_its_card_its_report_and_its_predictions(reported: Reported) -> None:
    students = [student["id"] for student in reported.assignment["students"]]
    names = ("README.md", "predictions.npz", "report.json")
    assert set(reported.files) == {f"{student}/{name}" for student in students for name in names}
    card = reported.files["stu_known-distilled-0/README.md"].read_text()
    assert card.startswith("---\nlibrary_name: timm\npipeline_tag: image-classification\n")
    assert reported.result["comparisons"][1]["sentence"] in card
    assert "local-dir:" in card
    assert f"distilled from 'digits-mlp' ({TEACHER})" in card
    beside = json.loads(reported.files["stu_known-distilled-0/report.json"].read_text())
    assert beside["object"] == "report"
    assert beside["result"] == reported.result
    accuracy = reported.arm("known", "distilled")["test"]["accuracy"]["values"][1]
    assert beside["student"]["test"]["accuracy"] == accuracy
    assert f"{accuracy:.4f}" in card


@pytest.mark.parametrize("student", ["stu_known-distilled-0", "stu_plain-no_teacher-0"])
def test_the_code_on_a_card_runs_and_gives_the_predictions(
    reported: Reported, student: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = reported.files[f"{student}/README.md"].read_text().split("```")[1]
    files = next(s["files"] for s in reported.assignment["students"] if s["id"] == student)
    monkeypatch.chdir(Path(files["model.safetensors"]).parent)
    pixels = (load_digits().images[400:520] / 16 * 255).astype(np.uint8)
    images = torch.tensor(pixels)[:, None].float() / 255
    if "known" in student:
        images = F.interpolate(images, size=(24, 24), mode="bilinear", antialias=True)
    scope: dict[str, Any] = {"images": images}
    exec(code.removeprefix("python\n"), scope)  # noqa: S102 - our own card, as a reader runs it
    np.testing.assert_allclose(
        scope["logits"].detach().numpy(),
        reported.predictions(student)["logits"],
        rtol=1e-4,
        atol=1e-4,
    )


def test_progress_reaches_its_end_and_warnings_are_said(reported: Reported) -> None:
    steps = [(m["step"], m["steps"]) for m in reported.said if m["type"] == "progress"]
    assert steps == [(done, 48) for done in range(1, 49)]
    events = {message["code"] for message in reported.said if message["type"] == "event"}
    assert {"provisional", "runs_missing", "test_part_opened"} <= events
    opened = [w for w in reported.result["warnings"] if w["code"] == "test_part_opened"]
    assert "2 other jobs" in opened[0]["message"]


def test_a_report_stops_where_its_progress_is_refused(tmp_path: Path) -> None:
    class Enough(Exception):
        pass

    def refuse(message: Message) -> None:
        if message["type"] == "progress":
            raise Enough

    assignment = _assignment_of_one(tmp_path, _student(tmp_path, "plain", "no_teacher", 0))
    with pytest.raises(Enough):
        report.make(assignment, say=refuse)


def test_a_teacher_alone_is_reported_without_comparisons(tmp_path: Path) -> None:
    student = _student(tmp_path, "plain", "no_teacher", 0)
    whole = _assignment_of_one(tmp_path, student)
    found = Reported(whole)
    (arm,) = found.result["arms"]
    assert arm["arm"] == "no_teacher"
    assert arm["agreement"] is None
    assert arm["kl"] is None
    assert found.result["comparisons"] == []
    assert found.result["best"]["student"] == student["id"]
    assert found.result["warnings"] == []


def test_without_test_rows_nothing_is_claimed(tmp_path: Path) -> None:
    assignment = _assignment_of_one(tmp_path, _student(tmp_path, "plain", "no_teacher", 0))
    del assignment["dataset"]["parts"]["test"]
    found = Reported(assignment)
    (arm,) = found.result["arms"]
    assert (arm["test"], arm["gap"]) == ({}, None)
    assert found.result["comparisons"] == []
    assert "stu_plain-no_teacher-0/predictions.npz" not in found.files
    assert "stu_plain-no_teacher-0/README.md" in found.files


def test_equal_inputs_give_equal_predictions_files(tmp_path: Path) -> None:
    contents = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        student = _student(tmp_path / name, "plain", "no_teacher", 0)
        found = Reported(_assignment_of_one(tmp_path / name, student))
        contents.append(found.files[f"{student['id']}/predictions.npz"].read_bytes())
    assert contents[0] == contents[1]


def test_a_job_without_any_student_fails_by_name(tmp_path: Path) -> None:
    assignment = _assignment_of_one(tmp_path, _student(tmp_path, "plain", "no_teacher", 0))
    assignment["students"] = []
    with pytest.raises(RunFailed) as failure:
        report.make(assignment, say=lambda _: None)
    assert failure.value.failure == "no_students"


def _assignment_of_one(folder: Path, student: TrainedStudent) -> Assignment:
    network, fed = STUDENTS["plain"]
    (folder / "work").mkdir()
    return {
        "type": "run",
        "kind": "report",
        "run": "run_r",
        "job": "job_j",
        "job_kind": "train",
        "spec": {
            "dataset": DATASET,
            "students": [{"name": "plain", "network": network, "input": fed}],
        },
        "variants": [],
        "student": None,
        "arm": None,
        "variant": None,
        "seed": None,
        "teachers": [],
        "dataset": {
            "id": DATASET,
            "classes": CLASSES,
            "fingerprint": "f" * 64,
            "parts": _write_parts(folder),
        },
        "transfer": [],
        "files": {},
        "students": [student],
        "prepared": None,
        "missing": [],
        "context": {"version": "0.1.0", "test_opened": 0, "warnings": []},
        "work": str(folder / "work"),
        "checkpoint": None,
        "checkpoint_seconds": 60.0,
        "device": "cpu",
        "threads": 1,
    }


def test_test_rows_among_the_extra_ones_make_every_verdict_provisional(tmp_path: Path) -> None:
    arms = ("distilled", "no_teacher")
    assignment = _assignment_of_one(tmp_path, _student(tmp_path, "plain", arms[0], 0))
    assignment["students"].append(_student(tmp_path, "plain", arms[1], 0))
    assignment["job_kind"] = "distill"
    assignment["spec"] |= {"teachers": [{"self": {}}], "transfer": ["ds_" + "e" * 26]}
    test = assignment["dataset"]["parts"]["test"]
    assignment["transfer"] = [assignment["dataset"] | {"parts": {"train": test}}]
    assignment["context"]["transfer_rows"] = 120
    found = Reported(assignment)
    (comparison,) = found.result["comparisons"]
    assert "The transfer sets hold test rows" in comparison["sentence"]
    assert "of 120 rows of transfer sets" in comparison["sentence"]
    codes = {warning["code"] for warning in found.result["warnings"]}
    assert {"test_rows_in_transfer", "transfer_rows"} <= codes
