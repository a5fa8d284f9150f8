"""The commands about jobs that exist: list, logs, cancel, pull."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from stillhouse.cli import terminal
from stillhouse.cli.terminal import AsJson

Job = Annotated[str, typer.Argument(help="job_…")]


def jobs(
    *,
    status: Annotated[str | None, typer.Option(help="Only these.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first."""
    with terminal.client() as client:
        found = list(itertools.islice(client.jobs(status=status), limit))
    if as_json:
        terminal.show(found)
        return
    table = Table("job", "status", "done", "created", "name", box=None, pad_edge=False)
    for job in found:
        table.add_row(*_cells(job))
    terminal.console().print(table)


def logs(
    job: Annotated[str, typer.Argument(help="job_… or run_…")],
    *,
    tail: Annotated[int | None, typer.Option(min=1, help="A run's last lines.")] = None,
) -> None:
    """Print the log of a job or of a run."""
    with terminal.client() as client:
        typer.echo(client.logs(job, tail=tail), nl=False)


def cancel(job: Job, *, as_json: AsJson = False) -> None:
    """Stop a job; what its finished runs made stays."""
    with terminal.client() as client:
        cancelled = client.cancel(job)
    if as_json:
        terminal.show(cancelled)
    else:
        typer.echo(f"{job} {cancelled['status']}")


def pull(
    what: Annotated[str, typer.Argument(help="job_… (its best student) or stu_…")],
    *,
    folder: Annotated[
        Path | None, typer.Option("--output", "-o", help="Default: the student's id.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Download a student; an interrupted download goes on, every file is checked by its hash."""
    with terminal.client() as client:
        student = client.best(what) if what.startswith("job_") else client.student(what)
        into = folder or Path(student["id"])
        terminal.say(f"{student['id']}: {student['name']}, {student['arm']}")
        with terminal.bytes_bar(f"downloading to {into}") as progress:
            client.download(student["id"], into, progress=progress)
    if as_json:
        terminal.show(student)
    else:
        typer.echo(into)


def _cells(job: Mapping[str, Any]) -> tuple[str, ...]:
    created = job["created_at"][:16].replace("T", " ")
    done = f"{job['progress']['fraction']:.0%}"
    return job["id"], job["status"], done, created, job.get("name") or ""
