"""What a person, or a script, sees: results on stdout, everything else on stderr.

Exit codes: see `EXIT_CODES`.
"""

from __future__ import annotations

import json
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from rich.table import Table

from stillhouse import errors, problem, transfer
from stillhouse.cli import tensors
from stillhouse.client import Client

AsJson = Annotated[bool, typer.Option("--json", help="Print the API's JSON on stdout.")]

AtMost = Annotated[int, typer.Option("--limit", min=1, help="At most so many.")]

EXIT_CODES = (
    "0 done; 1 a job failed, a teacher or a dataset was rejected, or `doctor` found what fails; "
    "2 wrong usage, or a local file or a key that can't be used; 3 the service refused; "
    "4 the service can't be reached, or failed; 130 Ctrl-C"
)

_WIDE = 200
"""Columns when nobody's terminal says how many: nothing is cut off in a file."""

_WORTH_A_LINE_BYTES = 1_000_000


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


def show_list(
    found: Sequence[Mapping[str, Any]],
    titles: Sequence[str],
    *,
    cells: Callable[[Mapping[str, Any]], Sequence[str]],
    as_json: bool,
) -> None:
    """A list, as the result: one object a line, or the API's JSON."""
    if as_json:
        show(found)
        return
    table = Table(*titles, box=None, pad_edge=False)
    for one in found:
        table.add_row(*cells(one))
    print_table(table)


def print_table(table: Table) -> None:
    """A table, as the result, without the blanks that fill its last column."""
    out = console()
    with out.capture() as drawn:
        out.print(table)
    for line in drawn.get().splitlines():
        typer.echo(line.rstrip())


def minute(one: Mapping[str, Any]) -> str:
    """When an object was created, to the minute."""
    return str(one["created_at"])[:16].replace("T", " ")


@contextmanager
def said_after(seconds: float, speak: Callable[[], None]) -> Iterator[Callable[[], None]]:
    """Calls `speak` when the block takes longer; yields what calls that off."""
    timer = threading.Timer(seconds, speak)
    timer.daemon = True
    timer.start()
    try:
        yield timer.cancel
    finally:
        timer.cancel()


@contextmanager
def client(*, patience: float = 3.0) -> Iterator[Client]:
    """A client whose errors end the command with a sentence and an exit code.

    A service that doesn't answer at first is tried for `patience` seconds.
    """
    try:
        with Client(patience=patience) as opened:
            yield opened
    except errors.StillhouseError as error:
        say(sentence(error))
        raise typer.Exit(_exit_code(error)) from None
    except OSError as error:
        # A file of the user's; httpx's own errors have become StillhouseErrors.
        named = f"'{error.filename}': {error.strerror}." if error.filename else str(error)
        say(f"error: {named}")
        raise typer.Exit(2) from None


def sentence(error: errors.StillhouseError) -> str:
    """What went wrong, in one line, and below it the other fields, or the tensors."""
    code = problem.code_of(error)
    where = f", field {error.field}" if error.field else ""
    lines = [f"error: {error.detail} ({code}{where})"]
    if len(error.errors) > 1 or (error.errors and error.errors[0]["message"] not in error.detail):
        lines += [f"  {entry['field']}: {entry['message']}" for entry in error.errors]
    lines += [f"  {line}" for line in tensors.lines(error.extra.get("tensors") or {})]
    return "\n".join(lines)


def _exit_code(error: errors.StillhouseError) -> int:
    if isinstance(error, errors.InputRejected | errors.RunFailed):
        return 1
    if isinstance(error, errors.MalformedKey):
        return 2
    if isinstance(error, errors.DigestMismatch) and "status" not in error.extra:
        return 4  # found on this side: the service sent wrong bytes
    unreachable = isinstance(error, errors.Unavailable)
    return 4 if unreachable or error.extra.get("status", 400) >= 500 else 3


@contextmanager
def bytes_bars() -> Iterator[Callable[[str], transfer.Progress]]:
    """Makes progress of transfers by their titles: bars on a terminal, few lines otherwise."""
    out = console(to_stderr=True)
    if not out.is_terminal:
        yield _byte_lines
        return
    columns = (DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(TextColumn("{task.description}"), BarColumn(), *columns, console=out) as bars:

        def bar(title: str) -> transfer.Progress:
            task = bars.add_task(title, total=None, visible=False)
            return lambda done, total: bars.update(task, completed=done, total=total, visible=True)

        yield bar


@contextmanager
def bytes_bar(title: str) -> Iterator[transfer.Progress]:
    """Progress of one transfer."""
    with bytes_bars() as bar:
        yield bar(title)


def _byte_lines(title: str) -> transfer.Progress:
    """A line for each quarter of a transfer that takes long enough to be waited for."""
    quarters = Steps(4)
    quarters.is_new(0.0)

    def line(done: int, total: int) -> None:
        if total >= _WORTH_A_LINE_BYTES and quarters.is_new(done / total):
            say(f"{title}: {done:,} of {total:,} bytes")

    return line


class Steps:
    """Says when a fraction has reached one of so many equal steps that it hadn't."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._reached = -1

    def is_new(self, fraction: float) -> bool:
        """Whether `fraction`, 0 to 1, is further by a step than any before."""
        step = int(fraction * self._count)
        new = step > self._reached
        self._reached = max(step, self._reached)
        return new
