"""A small laboratory: real digits, a real teacher, and assignments as a supervisor writes them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import safetensors.torch
import torch
from sklearn.datasets import load_digits
from torch import nn

from stillhouse.spec import InputSpec, NetworkSpec, ResolvedJob, StudentSpec
from worker.engine import course, networks, trial
from worker.engine.course import Course
from worker.engine.objective import Objective
from worker.protocol import Assignment, TeacherFiles

CPU = torch.device("cpu")
CLASSES = [str(digit) for digit in range(10)]
TEACHER = "tch_" + "t" * 26
DATASET = "ds_" + "d" * 26
INPUT = {"size": [8, 8], "channels": "gray", "mean": [0.3], "std": [0.4]}
MLP = {"family": "builtin", "name": "mlp", "options": {"hidden": [24], "dropout": 0.2}}
RESNET = {"family": "builtin", "name": "resnet8", "options": {}}
SHARES = {"train": (0, 130), "validation": (200, 260), "test": (300, 330)}
TRAINING = {
    "epochs": 3,
    "batch_size": 32,
    "optimizer": {"kind": "sgd", "lr": 0.1},
    "schedule": {"kind": "cosine", "warmup_epochs": 1},
    "augment": [{"kind": "crop", "padding": 1}, {"kind": "flip"}],
    "views": 2,
    "view_seed": 0,
    "precision": "fp32",
    "deterministic": True,
}


class Lab:
    """Makes what runs are given, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._works = 0

    def part(self, name: str, *, rows: tuple[int, int]) -> Path:
        digits = load_digits()
        start, stop = rows
        path = self.folder / f"{name}.npz"
        np.savez(
            path,
            x=(digits.images[start:stop] / 16 * 255).astype(np.uint8)[..., None],
            y=digits.target[start:stop].astype(np.int64),
            rows=np.arange(start, stop, dtype=np.int64),
        )
        return path

    def parts(self, **shares: tuple[int, int]) -> dict[str, str]:
        chosen = SHARES | shares
        return {name: str(self.part(name, rows=rows)) for name, rows in chosen.items()}

    def teacher(
        self, network: dict[str, Any] = MLP, *, seed: int = 1, **changes: Any
    ) -> TeacherFiles:
        torch.manual_seed(seed)
        built = networks.build(
            NetworkSpec.model_validate(network),
            classes=10,
            fed=InputSpec(size=(8, 8), channels="gray"),
        )
        weights = self.folder / f"teacher-{network['name']}-{seed}.safetensors"
        safetensors.torch.save_file(built.state_dict(), weights)
        files = {
            "id": TEACHER,
            "network": network,
            "input": INPUT,
            "classes": CLASSES,
            "class_order": None,
            "trained_on": "unknown",
            "weights": str(weights),
            "outputs": None,
            "outputs_kind": None,
            "bytes": weights.stat().st_size,
        }
        return cast("TeacherFiles", files | changes)

    def spec(self, **changes: Any) -> dict[str, Any]:
        training = TRAINING | changes.pop("training", {})
        spec = {
            "teachers": [{"id": TEACHER}],
            "dataset": DATASET,
            "students": [{"name": "small", "network": MLP, "input": INPUT}],
            "training": training,
            "seeds": [0],
        }
        return ResolvedJob.model_validate(spec | changes).model_dump(mode="json")

    def assignment(self, kind: str = "train", **changes: Any) -> Assignment:
        self._works += 1
        work = self.folder / f"work-{self._works}"
        work.mkdir()
        assignment = {
            "type": "run",
            "kind": kind,
            "run": "run_1",
            "job": "job_1",
            "job_kind": "distill",
            "spec": self.spec(),
            "student": "small" if kind == "train" else None,
            "arm": "distilled" if kind == "train" else None,
            "variant": None,
            "variants": [],
            "seed": 0 if kind == "train" else None,
            "teachers": [self.teacher()],
            "dataset": {
                "id": DATASET,
                "classes": CLASSES,
                "fingerprint": "f" * 64,
                "parts": self.parts(),
            },
            "transfer": [],
            "files": {},
            "students": [],
            "prepared": None,
            "missing": [],
            "context": {},
            "work": str(work),
            "checkpoint": None,
            "checkpoint_seconds": 3600.0,
            "device": "cpu",
            "threads": 1,
        }
        return cast("Assignment", assignment | changes)

    def course(self, *, arm: str = "distilled", seed: int = 0, **changes: Any) -> Course:
        """A course on the digits, without any run around it."""
        spec = ResolvedJob.model_validate(self.spec(**changes))
        assignment = self.assignment(arm=arm, seed=seed)
        return course.of_run(assignment, spec, spec.students[0], seed=seed)

    def network(self, network: dict[str, Any] = MLP, *, seed: int = 0) -> nn.Module:
        """A student's network with the initial weights of a seed."""
        student = StudentSpec.model_validate({"name": "s", "network": network, "input": INPUT})
        return trial.build(student, seed=seed, classes=10, device=CPU, field="students.0")

    def objective(self, chosen: Course, network: nn.Module, **changes: Any) -> Objective:
        """The objective of a course for a student of this lab."""
        spec = ResolvedJob.model_validate(self.spec(**changes))
        return chosen.objective(network, spec.students[0])


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    folder = tmp_path / "lab"
    folder.mkdir()
    return Lab(folder)


@pytest.fixture
def exact() -> Iterator[None]:
    """Deterministic algorithms on one thread, and what was set before afterwards."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)  # noqa: FBT003 - torch takes it by position
    yield
    torch.use_deterministic_algorithms(False)  # noqa: FBT003 - torch takes it by position
    torch.set_num_threads(threads)
