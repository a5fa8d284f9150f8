from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.stillhouse.conftest import Answer, Script, as_json

JOB = "job_01jd0000000000000000000000"
TEACHER = "tch_01jd0000000000000000000000"
COMPARISON = {"student": "small", "sentence": "It gained."}
PROGRESS = {"fraction": 0.0, "step": 0, "steps": 100, "epoch": 0, "eta_seconds": 9.0}


def environment(script: Script) -> dict[str, str]:
    return {**os.environ, "STILLHOUSE_URL": script.url}


def run(script: Script, *words: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "stillhouse.cli", *words],
        env=environment(script),
        input=stdin,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def job(status: str, **fields: Any) -> dict[str, Any]:
    return {"id": JOB, "status": status, "progress": PROGRESS, "error": None, **fields}


def estimate(low: float | None, high: float | None) -> dict[str, Any]:
    resolved = {"seeds": [0, 1, 2], "controls": ["no_teacher"], "students": [{}, {}]}
    return {"resolved": resolved, "seconds": {"low": low, "high": high}, "warnings": []}


def sent(script: Script, path: str = "/v1/jobs") -> Any:
    return json.loads(next(one.body for one in script.requests if one.path == path))


def _blobs(*contents: str) -> list[str]:
    return [f"/v1/blobs/{hashlib.sha256(text.encode()).hexdigest()}" for text in contents]


def test_a_submission_says_first_what_it_starts(script: Script) -> None:
    script.on("/v1/jobs/estimate", as_json(estimate(700, 980)))
    script.on("/v1/jobs", as_json(job("queued"), 201))
    words = ["--teacher", TEACHER, "--dataset", "ds_1", "--student", "small=timm/resnet10t"]
    done = run(script, "submit", *words, "--seeds", "3", "--epochs", "5", "--temperature", "2")
    assert done.returncode == 0
    assert done.stdout == f"{JOB}\n"
    assert done.stderr == "2 arms × 3 seeds × 2 students = 12 runs, about 14 min\n"
    network = {"family": "timm", "name": "resnet10t"}
    assert sent(script) == {
        "teachers": [{"id": TEACHER}],
        "dataset": "ds_1",
        "students": [{"name": "small", "network": network}],
        "seeds": 3,
        "training": {"epochs": 5},
        "objective": [
            {"kind": "soft_targets", "temperature": 2.0, "weight": 0.9},
            {"kind": "labels", "weight": 0.1},
        ],
    }


def test_flags_go_on_top_of_a_spec_from_stdin(script: Script) -> None:
    script.on("/v1/jobs/estimate", as_json(estimate(None, None)))
    script.on("/v1/jobs", as_json(job("queued"), 201))
    spec = {"dataset": "ds_1", "seeds": 1, "objective": [{"kind": "soft_targets"}]}
    flags = ["--set", "training.batch_size=64", "--temperature", "3", "--seeds", "2"]
    done = run(script, "submit", "-", *flags, stdin=json.dumps(spec))
    assert done.stderr.strip().endswith("= 12 runs")
    assert sent(script) == {
        "dataset": "ds_1",
        "seeds": 2,
        "objective": [{"kind": "soft_targets", "temperature": 3.0}],
        "training": {"batch_size": 64},
    }


def test_a_dry_run_starts_nothing(script: Script) -> None:
    script.on("/v1/jobs/estimate", as_json(estimate(20, 40)))
    done = run(script, "submit", "--dry-run", "--json")
    assert json.loads(done.stdout) == estimate(20, 40)
    assert "about 30 s" in done.stderr
    assert [one.path for one in script.requests] == ["/v1/jobs/estimate"]


def test_without_a_worker_the_job_is_submitted_all_the_same(script: Script) -> None:
    away = {"code": "no_worker", "detail": "No worker was free."}
    script.on("/v1/jobs/estimate", as_json(away, 503))
    script.on("/v1/jobs", as_json(job("queued"), 201))
    done = run(script, "submit", "--dataset", "ds_1")
    assert (done.returncode, done.stdout) == (0, f"{JOB}\n")
    assert "no estimate: No worker was free." in done.stderr


def test_a_job_that_failed_ends_the_watch_with_1_and_its_error(script: Script) -> None:
    error = {"code": "diverged", "detail": "The loss is not finite; lower the rate."}
    answers = [as_json(job("running"), ETag='"1"'), as_json(job("failed", error=error), ETag='"2"')]
    script.on(f"/v1/jobs/{JOB}", *answers)
    done = run(script, "watch", JOB)
    assert done.returncode == 1
    assert done.stdout == f"{JOB} failed\n"
    assert done.stderr.splitlines()[0] == "running 0% step 0 of 100, 9 s"
    assert "error: The loss is not finite; lower the rate. (diverged)" in done.stderr


def test_json_is_all_that_is_on_stdout(script: Script) -> None:
    ended = job("succeeded", result={"comparisons": [COMPARISON], "warnings": []})
    script.on(f"/v1/jobs/{JOB}", as_json(ended, ETag='"1"'))
    done = run(script, "watch", JOB, "--json")
    assert done.returncode == 0
    assert json.loads(done.stdout) == ended
    assert "small: It gained." in done.stderr


def test_ctrl_c_leaves_the_job_running_and_says_so(script: Script) -> None:
    unchanged = Answer(304, headers={"ETag": '"1"'})
    script.on(f"/v1/jobs/{JOB}", as_json(job("running"), ETag='"1"'), unchanged)
    command = [sys.executable, "-m", "stillhouse.cli", "watch", JOB]
    with subprocess.Popen(
        command, env=environment(script), stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("running")
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
        assert process.wait(10) == 130
    assert f"{JOB} keeps running" in said
    assert "Traceback" not in said
    assert all(one.method == "GET" for one in script.requests)


def test_what_the_service_refuses_is_one_sentence_with_code_and_field(script: Script) -> None:
    refusal = {
        "code": "invalid_request",
        "detail": "Seeds must be at least 1.",
        "errors": [{"field": "seeds", "message": "Seeds must be at least 1."}],
    }
    script.on("/v1/jobs/estimate", as_json(refusal, 422))
    done = run(script, "submit", "--seeds", "0")
    assert done.returncode == 3
    expected = "error: Seeds must be at least 1. (invalid_request, field seeds)\n"
    assert (done.stdout, done.stderr) == ("", expected)


@pytest.mark.parametrize(
    "words",
    [
        ["push", "teacher", __file__],
        ["push", "teacher", "nowhere.pt", "--network", "timm/resnet18"],
        ["push", "teacher", __file__, "--network", "timm/resnet18", "--gray"],
        ["submit", __file__],
        ["submit", "--set", "seeds"],
        ["frobnicate"],
    ],
)
def test_wrong_usage_ends_with_2_before_any_request(script: Script, words: list[str]) -> None:
    done = run(script, *words)
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    assert script.requests == []


def test_a_service_that_fails_ends_with_4(script: Script) -> None:
    script.on("/v1/jobs", Answer(500, headers={"x-should-retry": "false"}))
    done = run(script, "jobs")
    assert done.returncode == 4
    assert done.stderr.startswith("error: 500 Internal Server Error")


def test_a_rejected_teacher_ends_with_1(script: Script, tmp_path: Path) -> None:
    (tmp_path / "t.pt").write_bytes(b"weights")
    rejected = {
        "object": "teacher",
        "id": TEACHER,
        "name": "t",
        "status": "rejected",
        "error": {"code": "teacher_mismatch", "detail": "conv1.weight has another shape."},
    }
    for blob in _blobs("weights"):
        script.on(blob, Answer(200))
    script.on("/v1/teachers", as_json(rejected | {"status": "validating"}, 202))
    script.on(f"/v1/teachers/{TEACHER}", as_json(rejected, ETag='"1"'))
    done = run(script, "push", "teacher", str(tmp_path / "t.pt"), "--network", "timm/resnet18")
    assert done.returncode == 1
    assert "error: conv1.weight has another shape. (teacher_mismatch)" in done.stderr


def test_a_hub_folder_goes_up_file_by_file(script: Script, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors", "pytorch_model.bin", "README.md"):
        (tmp_path / name).write_text(name)
    for blob in _blobs("config.json", "model.safetensors"):
        script.on(blob, Answer(200))
    created = {"object": "teacher", "id": TEACHER, "name": "hub", "status": "validating"}
    script.on("/v1/teachers", as_json(created, 202))
    done = run(script, "push", "teacher", str(tmp_path), "--name", "hub", "--no-wait")
    assert (done.returncode, done.stdout) == (0, f"{TEACHER}\n")
    files = sent(script, "/v1/teachers")["weights"]["files"]
    assert sorted(files) == ["config.json", "model.safetensors"]


def test_a_report_is_a_table_with_its_sentences_below(script: Script) -> None:
    figures = {"accuracy": {"mean": 0.9583, "std": 0.004, "values": [0.954, 0.9626]}}
    latency = [{"batch": 1, "median_ms": 1.25}, {"batch": 64, "median_ms": 9.0}]
    sizes = {"parameters": 1234567, "bytes": 5000, "latency": latency}
    arm = {"student": "small", "arm": "distilled", "test": figures, "gap": {"mean": 0.03}, **sizes}
    teacher = {"test": {"accuracy": 0.98}, "gap": 0.02, **sizes}
    result = {
        "metric": "accuracy",
        "teachers": [teacher],
        "arms": [arm],
        "comparisons": [{"student": "small", "sentence": "[bold] It gained 1.2 points."}],
        "warnings": [{"code": "classes_by_position", "message": "Aligned by index."}],
        "best": {"student": "stu_1", "why": "highest validation accuracy"},
    }
    script.on(f"/v1/jobs/{JOB}/report", as_json({"object": "report", "result": result}))
    lines = [re.sub(r" +", " ", line) for line in run(script, "report", JOB).stdout.splitlines()]
    assert lines[1].strip() == "teacher 98.00% +2.00 1,234,567 5,000 1.25"
    assert lines[2].strip() == "small distilled 95.83% ± 0.40 +3.00 1,234,567 5,000 1.25"
    assert lines[3:] == [
        "small: [bold] It gained 1.2 points.",
        "warning: Aligned by index. (classes_by_position)",
        "best: stu_1, highest validation accuracy",
    ]
