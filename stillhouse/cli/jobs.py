"""The commands about jobs that exist: list, logs, cancel."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from stillhouse.cli import terminal
from stillhouse.cli.terminal import AsJson, AtMost


def jobs(
    *,
    status: Annotated[str | None, typer.Option(help="Only these.")] = None,
    limit: AtMost = 20,
    as_json: AsJson = False,
) -> None:
    """List jobs, newest first."""
    with terminal.client() as client:
        found = list(itertools.islice(client.jobs(status=status), limit))
    titles = ("job", "status", "done", "created", "name")
    terminal.show_list(found, titles, cells=_cells, as_json=as_json)


def logs(
    job: Annotated[str, typer.Argument(help="job_… or run_…")],
    *,
    tail: Annotated[int | None, typer.Option(min=1, help="Its last lines.")] = None,
) -> None:
    """Print the log of a job or of a run."""
    with terminal.client() as client:
        typer.echo(client.logs(job, tail=tail), nl=False)


def cancel(job: Annotated[str, typer.Argument(help="job_…")], *, as_json: AsJson = False) -> None:
    """Stop a job; what its finished runs made stays."""
    with terminal.client() as client:
        cancelled = client.cancel(job)
    if as_json:
        terminal.show(cancelled)
    else:
        typer.echo(f"{job} {cancelled['status']}")


def _cells(job: Mapping[str, Any]) -> tuple[str, ...]:
    done = f"{job['progress']['fraction']:.0%}"
    return job["id"], job["status"], done, terminal.minute(job), job.get("name") or ""
