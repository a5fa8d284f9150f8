"""The README's command lines: each can be typed as it is printed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
import typer.main
from typer.core import TyperGroup

from stillhouse.cli import commands, terminal

ROOT = Path(__file__).resolve().parents[3]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONSOLE = re.search(r"```console\n(.*?)```", README, re.DOTALL)
assert CONSOLE is not None
TYPED = re.findall(r"^\$ stillhouse (.*)$", CONSOLE[1].replace("\\\n", " "), re.MULTILINE)


def parsed(line: str) -> dict[str, object]:
    """The parameters of the command that a line names, parsed without being run."""
    found, words = typer.main.get_command(commands.app), shlex.split(line)
    while isinstance(found, TyperGroup):
        name = words.pop(0)
        found = found.commands[name]
    return found.make_context(name, words).params


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "first-job").mkdir()
    for name in ("digits.npz", "teacher.pt"):
        (tmp_path / "first-job" / name).touch()
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("line", TYPED)
def test_a_printed_command_line_is_one(line: str) -> None:
    assert parsed(line)


def test_the_printed_teacher_says_what_it_was_trained_on_and_its_classes() -> None:
    (teacher,) = (line for line in TYPED if line.startswith("push teacher"))
    parameters = parsed(teacher)
    assert parameters["trained_on"] == "ds_…:train"
    assert str(parameters["classes"]).split(",") == [str(digit) for digit in range(10)]


def test_the_printed_exit_codes_are_those_of_the_help() -> None:
    printed = re.findall(r"^\| (\d+) \| (.*) \|$", README, re.MULTILINE)
    assert printed == [tuple(code.split(" ", 1)) for code in terminal.EXIT_CODES.split("; ")]
