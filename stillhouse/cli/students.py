"""The commands about students: list, pull."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from stillhouse.cli import terminal
from stillhouse.cli.terminal import AsJson, AtMost


def students(
    *,
    job: Annotated[str | None, typer.Option(help="Only this job's: job_…")] = None,
    limit: AtMost = 20,
    as_json: AsJson = False,
) -> None:
    """List students, newest first, with their accuracy on the validation part."""
    with terminal.client() as client:
        found = list(itertools.islice(client.students(job), limit))
    titles = ("student", "job", "name", "arm", "seed", "status", "validation", "test")
    terminal.show_list(found, titles, cells=_cells, as_json=as_json)


def pull(
    what: Annotated[str, typer.Argument(help="job_… (its best student) or stu_…")],
    *,
    folder: Annotated[
        Path | None, typer.Option("--output", "-o", help="A folder. Default: the student's id.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Download a student; an interrupted download goes on, every file is checked by its hash."""
    with terminal.client() as client:
        student = client.best(what) if what.startswith("job_") else client.student(what)
        into = folder or Path(student["id"])
        terminal.say(f"{student['id']}: {student['name']}, {student['arm']}")
        with terminal.bytes_bars() as bar:
            checking, progress = bar(f"checking {into}"), bar(f"downloading to {into}")
            client.download(student["id"], into, progress=progress, checking=checking)
    if as_json:
        terminal.show(student)
    else:
        typer.echo(into)


def _cells(one: Mapping[str, Any]) -> tuple[str, ...]:
    seed = "" if one.get("seed") is None else str(one["seed"])
    figures = (_accuracy(one, part) for part in ("validation", "test"))
    return one["id"], one["job"], one["name"], one["arm"], seed, one["status"], *figures


def _accuracy(student: Mapping[str, Any], part: str) -> str:
    found = ((student.get("metrics") or {}).get(part) or {}).get("accuracy")
    return "" if found is None else f"{found:.2%}"
