"""What a person, or a script, sees: results on stdout, everything else on stderr.

Exit codes: 0 done · 1 a job failed, or an object was rejected · 2 wrong usage · 3 the service
refused · 4 the service can't be reached, or failed · 130 Ctrl-C.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from stillhouse import errors, problem, transfer
from stillhouse.client import Client

AsJson = Annotated[bool, typer.Option("--json", help="Print the API's JSON on stdout.")]

_WIDE = 200
"""Columns when nobody's terminal says how many: nothing is cut off in a file."""


def console(*, to_stderr: bool = False) -> Console:
    """A console that prints text as it is: names from a service are not markup."""
    stream = sys.stderr if to_stderr else sys.stdout
    width = None if stream.isatty() else _WIDE
    return Console(file=stream, width=width, markup=False, highlight=False, emoji=False)


def say(message: str) -> None:
    """A line beside the result."""
    console(to_stderr=True).print(message, soft_wrap=True)


def show(answer: Any) -> None:
    """The API's JSON, as the result."""
    typer.echo(json.dumps(answer, indent=2, ensure_ascii=False))


@contextmanager
def client() -> Iterator[Client]:
    """A client whose errors end the command with a sentence and an exit code."""
    try:
        with Client() as opened:
            yield opened
    except errors.StillhouseError as error:
        say(sentence(error))
        raise typer.Exit(_exit_code(error)) from None
    except OSError as error:
        # A file of the user's; httpx's own errors have become StillhouseErrors.
        say(f"error: {error}")
        raise typer.Exit(2) from None


def sentence(error: errors.StillhouseError) -> str:
    """What went wrong, in one line, and below it the other fields that are wrong."""
    code = problem.code_of(error)
    where = f", field {error.field}" if error.field else ""
    lines = [f"error: {error.detail} ({code}{where})"]
    if len(error.errors) > 1 or (error.errors and error.errors[0]["message"] not in error.detail):
        lines += [f"  {entry['field']}: {entry['message']}" for entry in error.errors]
    return "\n".join(lines)


def _exit_code(error: errors.StillhouseError) -> int:
    if isinstance(error, errors.InputRejected | errors.RunFailed):
        return 1
    if isinstance(error, errors.DigestMismatch) and "status" not in error.extra:
        return 4  # found on this side: the service sent wrong bytes
    unreachable = isinstance(error, errors.Unavailable)
    return 4 if unreachable or error.extra.get("status", 400) >= 500 else 3


@contextmanager
def bytes_bar(title: str) -> Iterator[transfer.Progress]:
    """Progress of a transfer: a bar on a terminal, a line every tenth otherwise."""
    out = console(to_stderr=True)
    if not out.is_terminal:
        tenths = Tenths()

        def line(done: int, total: int) -> None:
            if tenths.is_new(done / total if total else 1.0):
                say(f"{title}: {done:,} of {total:,} bytes")

        yield line
        return
    columns = (DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(TextColumn("{task.description}"), BarColumn(), *columns, console=out) as bar:
        task = bar.add_task(title, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


class Tenths:
    """Says when a fraction has reached a tenth that it hadn't."""

    def __init__(self) -> None:
        self._seen = -1

    def is_new(self, fraction: float) -> bool:
        """Whether `fraction`, 0 to 1, is in another tenth than before."""
        tenth = int(fraction * 10)
        new, self._seen = tenth != self._seen, tenth
        return new
