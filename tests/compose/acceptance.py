"""The composed service from the first `up` to `down -v`: `make compose-test`; needs docker compose.

Prints a PASS line for each thing that holds, and ends with status 1 at the first that doesn't.
The project's name is its own, so that nothing of a running deployment is touched.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from stillhouse.client import Client
from tests import waiting
from tests.compose.stack import Stack
from tests.e2e.conftest import job_spec, push, read_digits, write_material
from tests.servers import CHECKOUT

PROJECT = os.environ.get("STILLHOUSE_TEST_PROJECT", "stillhouse-acceptance")
JOB_SECONDS = 600.0
OVER = ("succeeded", "failed", "cancelled")


def main() -> int:
    """Run all steps over one stack, and take it down again."""
    stack = Stack(PROJECT)
    stack.compose("down", "--volumes")
    try:
        with tempfile.TemporaryDirectory() as folder:
            steps(stack, Path(folder))
    finally:
        sys.stdout.write(stack.compose("logs", "--tail", "20") if sys.exc_info()[0] else "")
        stack.compose("down", "--volumes")
    say("the stack is down, its volumes are gone")
    return 0


def steps(stack: Stack, folder: Path) -> None:
    """In their order; each leaves a working service behind."""
    began = time.monotonic()
    stack.up()
    say(f"up on a fresh project, ready after {time.monotonic() - began:.0f} s")
    keys_are_asked_for(stack)
    os.environ["STILLHOUSE_KEY"] = stack.key()
    the_main_job_passes(stack)
    with Client(stack.url) as client:
        prepared = push(client, write_material(folder, *read_digits()))
        students = undisturbed(client, prepared)
        scaled(stack, client)
        killed(stack, client, prepared, students)
        servers_restarted(stack, client, prepared, students)
    down_and_up(stack, students)


def keys_are_asked_for(stack: Stack) -> None:
    """Nothing is answered without a key but whether it lives."""
    assert httpx.get(f"{stack.url}/healthz").status_code == 200
    answer = httpx.get(f"{stack.url}/v1/jobs")
    assert answer.status_code == 401, answer.text
    assert answer.headers["www-authenticate"].startswith("Bearer")
    say("401 without a key")


def the_main_job_passes(stack: Stack) -> None:
    """The end-to-end tests of the main job, from outside, with the generated key."""
    where = json.dumps({"project": stack.project, "url": stack.url})
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-x", "tests/e2e/test_main_job.py"],
        cwd=CHECKOUT, env=os.environ | {"STILLHOUSE_TEST_STACK": where},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:]
    said = done.stdout.strip().splitlines()[-1]
    say(f"the main job from outside, with the generated key: {said}")


def undisturbed(client: Client, prepared: dict[str, str]) -> dict[str, str]:
    """The students of a job that nothing happens to, which all later ones must equal."""
    job = client.wait(client.submit(spec(prepared))["id"])
    assert job["status"] == "succeeded", job["error"]
    students = weights(client, job["id"])
    say(f"a job of {len(students)} students, undisturbed")
    return students


def scaled(stack: Stack, client: Client) -> None:
    """`--scale worker=3` gives three workers."""
    stack.up("--scale", "worker=3", "--no-recreate")
    waiting.until(lambda: at_work(stack) >= 3, seconds=180, what="three workers")
    say("--scale worker=3: three workers are there")
    assert client.jobs()


def killed(
    stack: Stack, client: Client, prepared: dict[str, str], students: dict[str, str]
) -> None:
    """A worker that is killed in mid-run costs no job, and no student's bytes."""
    job = client.submit(spec(prepared))["id"]
    waiting.until(lambda: running(client, job) >= 3, seconds=120, what="three runs at once")
    victim = stack.containers("worker")[0]
    stack.run("kill", "--signal", "KILL", victim)
    ended(client, job, students)
    say(f"{victim} killed in mid-run: the job ended once, its students' hashes as undisturbed")
    stack.up("--scale", "worker=3", "--no-recreate")


def servers_restarted(
    stack: Stack, client: Client, prepared: dict[str, str], students: dict[str, str]
) -> None:
    """Redis and PostgreSQL are restarted in mid-run, while the API is asked all the time."""
    job = client.submit(spec(prepared))["id"]
    waiting.until(lambda: running(client, job) >= 1, seconds=120, what="a run")
    with asked(stack) as statuses:
        stack.compose("restart", "redis")
        stack.compose("restart", "db")
        sent = client.submit(spec(prepared))["id"]  # the client waits out what isn't there
        waiting.until(stack.is_ready, seconds=120, what="readiness")
    assert set(statuses) <= {200, 201, 503}, statuses
    for each in (job, sent):
        ended(client, each, students)
    say(f"redis and db restarted under load: answers {dict(statuses)}, both jobs ended once")


def down_and_up(stack: Stack, students: dict[str, str]) -> None:
    """All containers go and come again; what was made is still there."""
    with Client(stack.url) as client:
        before = sorted(job["id"] for job in client.jobs())
    stack.compose("down")
    stack.up()
    with Client(stack.url) as client, tempfile.TemporaryDirectory() as folder:
        assert sorted(job["id"] for job in client.jobs()) == before
        newest = next(iter(client.jobs()))
        assert weights(client, newest["id"]) == students
        best = client.best(newest["id"])
        client.download(best["id"], folder)  # which checks every hash
        assert (Path(folder) / "model.safetensors").is_file()
    say(f"down and up again: {len(before)} jobs, hashes unchanged, the best student downloaded")


def ended(client: Client, job: str, students: dict[str, str]) -> None:
    """Wait until a job has ended, well and once, with the students that it must have."""
    waiting.until(
        lambda: client.job(job)["status"] in OVER, seconds=JOB_SECONDS, what="the job's end"
    )
    assert client.job(job)["status"] == "succeeded", client.job(job)["error"]
    ends = [event["type"] for event in client.events(job) if event["type"] in OVER]
    assert ends == ["succeeded"], ends
    assert weights(client, job) == students


@contextmanager
def asked(stack: Stack) -> Iterator[Counter[int]]:
    """Ask the API for its jobs while the block runs; how often it answered what."""
    statuses: Counter[int] = Counter()
    over = threading.Event()

    def ask() -> None:
        headers = {"Authorization": f"Bearer {os.environ['STILLHOUSE_KEY']}"}
        while not over.wait(0.05):
            answer = httpx.get(f"{stack.url}/v1/jobs", headers=headers, timeout=60)
            statuses[answer.status_code] += 1

    asking = threading.Thread(target=ask)
    asking.start()
    try:
        yield statuses
    finally:
        over.set()
        asking.join()


def spec(prepared: dict[str, str]) -> dict[str, Any]:
    """Two arms of two seeds; long enough that there is a middle to be disturbed in."""
    return job_spec(
        prepared,
        seeds=2,
        training={"epochs": 40, "batch_size": 32, "deterministic": True},
    )


def weights(client: Client, job: str) -> dict[str, str]:
    """The hash of each student's weights, by its arm and seed."""
    return {
        f"{student['arm']}/{student['seed']}": next(
            file["sha256"] for file in student["files"] if file["path"] == "model.safetensors"
        )
        for student in client.students(job)
    }


def running(client: Client, job: str) -> int:
    """How many of a job's runs that train are worked on."""
    return sum(run["status"] == "running" and run["kind"] == "train" for run in client.runs(job))


def at_work(stack: Stack) -> int:
    """How many workers are alive."""
    headers = {"Authorization": f"Bearer {os.environ['STILLHOUSE_KEY']}"}
    found = httpx.get(f"{stack.url}/v1/workers", headers=headers).json()["data"]
    return sum(worker["status"] in ("ready", "busy") for worker in found)


def say(what: str) -> None:
    """One line for what holds."""
    sys.stdout.write(f"PASS {what}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
