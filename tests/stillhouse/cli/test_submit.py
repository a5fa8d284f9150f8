from __future__ import annotations

import dataclasses
import json
import subprocess
import threading
from typing import Any

from tests.stillhouse.cli.conftest import JOB, TEACHER, command, environment, job, run, sent
from tests.stillhouse.conftest import Script, as_json


def estimate(low: float | None, high: float | None) -> dict[str, Any]:
    resolved = {"seeds": [0, 1, 2], "controls": ["no_teacher"], "students": [{}, {}]}
    return {"resolved": resolved, "seconds": {"low": low, "high": high}, "warnings": []}


def test_a_submission_says_first_what_it_starts(script: Script) -> None:
    script.on("/v1/jobs/estimate", as_json(estimate(700, 980)))
    script.on("/v1/jobs", as_json(job("queued"), 201))
    words = ["--teacher", TEACHER, "--dataset", "ds_1", "--student", "small=timm/resnet10t"]
    done = run(script, "submit", *words, "--seeds", "3", "--epochs", "5", "--temperature", "2")
    assert done.returncode == 0
    assert done.stdout == f"{JOB}\n"
    said = done.stderr.splitlines()[-1]  # on a busy machine, after the same without a time
    assert said == "2 arms × 3 seeds × 2 students = 12 runs, about 14 min"
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


def test_several_teachers_a_transfer_set_and_a_sweep_are_flags_too(script: Script) -> None:
    variants = [{"name": f"v{number}", "changes": {}} for number in (1, 2, 3)]
    resolved = estimate(None, None)["resolved"] | {"sweep": {"kind": "grid"}}
    said = estimate(60, 80) | {"resolved": resolved, "variants": variants, "runs": 26}
    script.on("/v1/jobs/estimate", as_json(said))
    script.on("/v1/jobs", as_json(job("queued"), 201))
    words = ["--teacher", "tch_1", "--teacher", "tch_2", "--transfer", "ds_2", "--export", "onnx",
             "--sweep", "objective.0.temperature=1,2.5,4",
             "--sweep", "students.0.init.layers=first,even"]  # fmt: skip
    done = run(script, "submit", "--dataset", "ds_1", *words)
    assert done.returncode == 0
    assert done.stderr.splitlines()[-1] == (
        "2 arms × 3 seeds × 2 students × 3 variants, some shared = 24 runs, about 70 s"
    )
    assert sent(script) == {
        "teachers": [{"id": "tch_1"}, {"id": "tch_2"}],
        "dataset": "ds_1",
        "transfer": ["ds_2"],
        "exports": ["onnx"],
        "sweep": {
            "kind": "grid",
            "parameters": {
                "/objective/0/temperature": [1, 2.5, 4],
                "/students/0/init/layers": ["first", "even"],
            },
        },
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
    said = done.stderr.splitlines()
    assert said[1:] == ["no time estimate, since every worker is busy or away"]
    assert said[0].startswith("2 arms × 1 seed × ")
    asked = next(one for one in script.requests if one.path == "/v1/jobs/estimate")
    assert asked.headers["Prefer"] == "wait=5"


def test_while_workers_are_busy_a_submission_says_what_it_starts(script: Script) -> None:
    said_first = _said_before_the_estimate(script, "submit", "--student", "timm/resnet10t")
    assert said_first == "2 arms × 1 seed × 1 student = 2 runs\n"


def test_while_workers_are_busy_a_dry_run_says_that_it_waits(script: Script) -> None:
    said_first = _said_before_the_estimate(script, "submit", "--dry-run")
    assert said_first == "waiting for a worker…\n"


def _said_before_the_estimate(script: Script, *words: str) -> str:
    free = threading.Event()
    answer = dataclasses.replace(as_json(estimate(20, 40)), after=free)
    script.on("/v1/jobs/estimate", answer)
    script.on("/v1/jobs", as_json(job("queued"), 201))
    with subprocess.Popen(
        command(*words), env=environment(script), stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        said = process.stderr.readline()
        free.set()
        assert "about 30 s" in process.stderr.read()
    assert process.returncode == 0
    return said
