"""The README's command lines: each can be typed as it is printed."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import click
import pytest
import typer.main

from stillhouse.cli import commands

ROOT = Path(__file__).resolve().parents[3]
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONSOLE = re.search(r"```console\n(.*?)```", README, re.DOTALL)
assert CONSOLE is not None
TYPED = re.findall(r"^\$ stillhouse (.*)$", CONSOLE[1].replace("\\\n", " "), re.MULTILINE)


def parsed(line: str) -> tuple[str, dict[str, object]]:
    """The command that a line names, and its parameters, as it is parsed without being run."""
    found, words, name = typer.main.get_command(commands.app), shlex.split(line), ""
    context = found.make_context("stillhouse", words)
    while isinstance(found, click.Group):
        step, below, words = found.resolve_command(
            context, [*context._protected_args, *context.args]
        )
        assert step is not None
        assert below is not None
        name, found = f"{name} {step}".strip(), below
        context = found.make_context(step, words, parent=context)
    return name, context.params


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "first-job").mkdir()
    for name in ("digits.npz", "teacher.pt"):
        (tmp_path / "first-job" / name).touch()
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("line", TYPED)
def test_a_printed_command_line_is_one(line: str) -> None:
    name, _ = parsed(line)
    assert line.startswith(name)


def test_the_printed_teacher_says_what_it_was_trained_on_and_its_classes() -> None:
    (teacher,) = (line for line in TYPED if line.startswith("push teacher"))
    _, parameters = parsed(teacher)
    assert parameters["trained_on"] == "ds_…:train"
    assert str(parameters["classes"]).split(",") == [str(digit) for digit in range(10)]


def test_the_printed_exit_codes_are_those_of_the_help() -> None:
    printed = re.findall(r"^\| (\d+) \| (.*) \|$", README, re.MULTILINE)
    assert printed == [
        tuple(code.split(" ", 1)) for code in commands.terminal.EXIT_CODES.split("; ")
    ]
