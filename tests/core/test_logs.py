"""What a process writes on standard error, in both formats. Each is a process of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import logging, threading, warnings
from contextvars import copy_context
from core import logs
from core.settings import load

logs.configure(load())
log = logging.getLogger("speaker")
log.info("before")
with logs.bound(job="job_1", run="run_1", attempt=2, key=None):
    log.info("one\\n2026-01-01T00:00:00.000Z CRITICAL forged: two \\x1b[31m\\u2028\\u202e")
    with logs.bound(request_id="req_1"):
        log.warning("deeper")
    copied = threading.Thread(target=copy_context().run, args=(lambda: log.info("beside"),))
    bare = threading.Thread(target=lambda: log.info("elsewhere"))
    for thread in (copied, bare):
        thread.start()
        thread.join()
    try:
        raise ValueError("x\\n2026-01-01T00:00:00.000Z CRITICAL forged: y")
    except ValueError:
        log.exception("it went wrong")
log.info("after", extra={"status": 200})
warnings.warn("take care")
failing = threading.Thread(target=lambda: 1 / 0, name="divider")
failing.start()
failing.join()
raise RuntimeError("the last words")
"""


def speak(log_format: str, folder: Path) -> list[str]:
    environment = os.environ | {"STILLHOUSE_LOG_FORMAT": log_format, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True,
        cwd=folder, check=False, timeout=30,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    return done.stderr.splitlines()


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, object]]:
    return [json.loads(line) for line in speak("json", tmp_path_factory.mktemp("json"))]


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    return speak("text", tmp_path_factory.mktemp("text"))


def by_message(objects: list[dict[str, object]], begin: str) -> dict[str, object]:
    return next(each for each in objects if str(each["message"]).startswith(begin))


def test_each_json_line_says_when_who_and_what(objects: list[dict[str, object]]) -> None:
    for each in objects:
        assert {"time", "level", "logger", "message"} <= set(each)
        assert str(each["time"]).endswith("Z")
    before = by_message(objects, "before")
    assert set(before) == {"time", "level", "logger", "message"}
    assert (before["level"], before["logger"]) == ("INFO", "speaker")
    assert by_message(objects, "after")["status"] == 200


def test_a_json_line_carries_what_it_is_about(objects: list[dict[str, object]]) -> None:
    about = {"job": "job_1", "run": "run_1", "attempt": 2}
    for message in ("one", "deeper", "beside", "it went wrong"):
        found = by_message(objects, message)
        assert {key: found.get(key) for key in about} == about
        assert "key" not in found
    assert by_message(objects, "deeper")["request_id"] == "req_1"
    for message in ("before", "elsewhere", "after"):
        assert not set(by_message(objects, message)) & set(about)


def test_what_ends_a_process_or_a_thread_is_one_json_line(objects: list[dict[str, object]]) -> None:
    words = by_message(objects, "this process ends: RuntimeError: the last words")
    assert words["level"] == "CRITICAL"
    assert "Traceback" in str(words["exception"])
    assert by_message(objects, "thread divider ends: ZeroDivisionError")["level"] == "CRITICAL"
    assert "take care" in str(next(o for o in objects if o["logger"] == "py.warnings")["message"])


def test_a_line_of_text_is_readable_and_says_what_it_is_about(lines: list[str]) -> None:
    deeper = next(line for line in lines if "deeper" in line)
    assert deeper.endswith(
        "Z WARNING speaker: deeper [job=job_1 run=run_1 attempt=2 request_id=req_1]"
    )
    assert next(line for line in lines if "before" in line).endswith("INFO speaker: before")


def test_no_message_poses_as_another_line(lines: list[str]) -> None:
    said = next(line for line in lines if "INFO speaker: one" in line)
    assert r"one\n2026-01-01T00:00:00.000Z CRITICAL forged: two \x1b[31m\x2028\x202e [job=" in said
    forged = [line for line in lines if line.startswith("2026-01-01")]
    assert forged == []
    assert any(line.startswith("  2026-01-01") for line in lines)  # the traceback is indented


def test_what_ends_a_process_is_a_clear_line_before_its_traceback(lines: list[str]) -> None:
    last = [line for line in lines if not line.startswith("  ")][-1]
    assert last.endswith("CRITICAL stillhouse: this process ends: RuntimeError: the last words")
