"""The command, as a process against a scripted service."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from typing import Any

from tests.stillhouse.conftest import Script

JOB = "job_01jd0000000000000000000000"
TEACHER = "tch_01jd0000000000000000000000"
STUDENT = "stu_01jd0000000000000000000000"
PROGRESS = {"fraction": 0.0, "step": 0, "steps": 100, "epoch": 0, "eta_seconds": 9.0}


def environment(script: Script) -> dict[str, str]:
    return {**os.environ, "STILLHOUSE_URL": script.url}


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "stillhouse.cli", *words]


def run(
    script: Script, *words: str, stdin: str = "", **more: str
) -> subprocess.CompletedProcess[str]:
    """`more`: variables of the environment."""
    return subprocess.run(
        command(*words),
        env=environment(script) | more,
        input=stdin,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def job(status: str, **fields: Any) -> dict[str, Any]:
    return {"id": JOB, "status": status, "progress": PROGRESS, "error": None, **fields}


def sent(script: Script, path: str = "/v1/jobs") -> Any:
    return json.loads(next(one.body for one in script.requests if one.path == path))


def blobs(*contents: str) -> list[str]:
    return [f"/v1/blobs/{hashlib.sha256(text.encode()).hexdigest()}" for text in contents]
