from __future__ import annotations

import signal
import subprocess
import sys
import threading

import pytest

from stillhouse import __version__
from tests.stillhouse.cli.conftest import command, environment, run
from tests.stillhouse.conftest import Answer, Script, as_json


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


def test_the_version_needs_no_service(late_script: Script) -> None:
    assert run(late_script, "--version").stdout == f"stillhouse {__version__}\n"


def test_the_help_lists_the_exit_codes(late_script: Script) -> None:
    said = " ".join(run(late_script, "--help").stdout.split())
    assert said.startswith("Usage: stillhouse ")
    for code in ("0 done", "1 a job failed", "2 wrong usage", "3 the service", "130 Ctrl-C"):
        assert code in said


def test_ctrl_c_ends_any_command_with_130_and_no_traceback(script: Script) -> None:
    hang = threading.Event()
    script.on("/v1/jobs", Answer(after=hang))
    with subprocess.Popen(
        command("jobs"), env=environment(script), stderr=subprocess.PIPE, text=True
    ) as process:
        script.asked.wait(30)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=30)
        hang.set()
    assert (process.returncode, said) == (130, "")


def test_ctrl_c_while_the_command_is_loading_says_nothing_either() -> None:
    interrupted = (
        "import sys\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'typer': raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        "from stillhouse import cli\n"
        "cli.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", interrupted], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (130, "")
