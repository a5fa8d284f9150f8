from __future__ import annotations

from tests.stillhouse.cli.conftest import JOB, job, run
from tests.stillhouse.conftest import Answer, Script, as_json


def test_jobs_are_listed(script: Script) -> None:
    named = job("running", created_at="2026-01-02T03:04:05.678Z", name="digits")
    script.on("/v1/jobs", as_json({"data": [named], "has_more": False}))
    title, line = run(script, "jobs").stdout.splitlines()
    assert title.split() == ["job", "status", "done", "created", "name"]
    assert line.split() == [JOB, "running", "0%", "2026-01-02", "03:04", "digits"]


def test_the_tail_of_a_jobs_log_is_its_last_lines(script: Script) -> None:
    script.on(f"/v1/jobs/{JOB}/logs", Answer(body=b"one\ntwo\nthree\n"))
    assert run(script, "logs", JOB, "--tail", "2").stdout == "two\nthree\n"
