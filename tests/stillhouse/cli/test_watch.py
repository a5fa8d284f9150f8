from __future__ import annotations

import json
import signal
import subprocess

from tests.stillhouse.cli.conftest import JOB, command, environment, job, run
from tests.stillhouse.conftest import Answer, Script, as_json

COMPARISON = {"student": "small", "sentence": "It gained."}


def test_a_job_that_failed_ends_the_watch_with_1_and_its_error(script: Script) -> None:
    error = {"code": "diverged", "detail": "The loss is not finite; lower the rate."}
    answers = [as_json(job("running"), ETag='"1"'), as_json(job("failed", error=error), ETag='"2"')]
    script.on(f"/v1/jobs/{JOB}", *answers)
    done = run(script, "watch", JOB)
    assert done.returncode == 1
    assert done.stdout == f"{JOB} failed\n"
    assert done.stderr.splitlines() == [
        "running 0% step 0 of 100, 9 s",
        "error: The loss is not finite; lower the rate. (diverged)",
    ]


def test_a_service_that_is_away_at_first_is_waited_for(late_script: Script) -> None:
    ended = job("succeeded", result={"comparisons": [COMPARISON], "warnings": []})
    late_script.on(f"/v1/jobs/{JOB}", as_json(ended, ETag='"1"'))
    with subprocess.Popen(
        command("watch", JOB),
        env=environment(late_script),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline() == "no answer yet; trying for 60 s\n"
        late_script.start()
        said, _ = process.communicate(timeout=30)
    assert (process.returncode, said) == (0, f"{JOB} succeeded\n")


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
    with subprocess.Popen(
        command("watch", JOB), env=environment(script), stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("running")
        process.send_signal(signal.SIGINT)
        said = process.stderr.read()
        assert process.wait(10) == 130
    assert f"{JOB} keeps running" in said
    assert "Traceback" not in said
    assert all(one.method == "GET" for one in script.requests)
