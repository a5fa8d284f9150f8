"""The commands against the real service, as `examples.demo.service` starts it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

from examples.demo import service


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with service.running(tmp_path_factory.mktemp("service")) as found:
        yield found


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files")
    draw = np.random.default_rng(0)
    labels = np.arange(200) % 2
    images = draw.integers(0, 100, (200, 16, 16)) + 100 * labels[:, None, None]
    np.savez(folder / "bright.npz", x=images.astype(np.uint8), y=labels)
    torch.manual_seed(0)
    network = timm.create_model("test_resnet", num_classes=2, in_chans=1)
    torch.save(network.state_dict(), folder / "teacher.pt")
    return folder


def stillhouse(url: str, *words: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stillhouse.cli", *map(str, words)],
        env={**os.environ, "STILLHOUSE_URL": url},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def said(url: str, *words: object) -> str:
    done = stillhouse(url, *words)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_files_go_in_and_a_student_comes_out(url: str, files: Path, tmp_path: Path) -> None:
    classes = ("--classes", "dark,bright")
    dataset = said(url, "push", "dataset", files / "bright.npz", *classes)
    network = ("--network", "timm/test_resnet", "--option", "in_chans=1")
    taken = ("--input", "16x16", "--gray", "--mean", "0.5", "--std", "0.5")
    seen = ("--trained-on", "disjoint", *classes)
    teacher = said(url, "push", "teacher", files / "teacher.pt", *network, *taken, *seen)

    job_words = ("--teacher", teacher, "--dataset", dataset, "--student", "timm/test_resnet")
    plan = stillhouse(url, "submit", *job_words, "--epochs", 1, "--dry-run")
    assert "2 arms × 1 seed × 1 student = 2 runs, about " in plan.stderr
    watched = said(url, "submit", *job_words, "--epochs", 1, "--watch")
    job, status = watched.split()
    assert status == "succeeded"

    assert job in said(url, "jobs", "--status", "succeeded")
    table = said(url, "report", job)
    assert "distilled" in table
    assert "no_teacher" in table
    assert "Traceback" not in said(url, "logs", job)
    refused = stillhouse(url, "cancel", job)
    assert (refused.returncode, "job_is_over" in refused.stderr) == (3, True)

    folder = tmp_path / "student"
    best = json.loads(said(url, "pull", job, "-o", folder, "--json"))
    assert sorted(entry["path"] for entry in best["files"]) == sorted(
        file.name for file in folder.iterdir()
    )
    assert timm.create_model(f"local-dir:{folder}", pretrained=True).num_classes == 2


def test_a_teacher_that_does_not_fit_is_rejected_with_1(url: str, files: Path) -> None:
    words = ("push", "teacher", files / "teacher.pt", "--network", "timm/resnet18")
    done = stillhouse(url, *words)
    assert done.returncode == 1
    assert "(teacher_mismatch" in done.stderr


def test_what_the_service_refuses_ends_with_3_and_names_the_field(url: str) -> None:
    done = stillhouse(url, "submit", "--seeds", 0)
    assert done.returncode == 3
    assert "seeds" in done.stderr
