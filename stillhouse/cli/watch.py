"""`stillhouse watch`: a job while it runs, and how it ended."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from stillhouse import errors
from stillhouse.cli import report, terminal
from stillhouse.cli.terminal import AsJson
from stillhouse.client import Client

_PATIENCE_SECONDS = 60.0
"""A service that restarts is worth waiting for: the job goes on when it is back."""
_BAD_ENDS = ("failed", "cancelled")


def watch(
    job: Annotated[str, typer.Argument(help="job_…")],
    *,
    as_json: AsJson = False,
) -> None:
    """Follow a job until it has ended; Ctrl-C leaves it running."""
    with terminal.client(patience=_PATIENCE_SECONDS) as client:
        follow(client, job, as_json=as_json)


def follow(client: Client, job: str, *, as_json: bool) -> None:
    """Shows a job until it has ended; raises RunFailed when it didn't succeed."""
    try:
        with shown() as progress, terminal.said_after(2, _say_no_answer) as answered:

            def show(found: Mapping[str, Any]) -> None:
                answered()
                progress(found)

            ended = client.wait(job, progress=show)
    except KeyboardInterrupt:
        terminal.say(
            f"{job} keeps running: `stillhouse watch {job}` looks again, "
            f"`stillhouse cancel {job}` ends it."
        )
        raise typer.Exit(130) from None
    if as_json:
        terminal.show(ended)
    else:
        typer.echo(f"{job} {ended['status']}")
    if ended["status"] != "succeeded":
        error = ended.get("error") or {}
        fallback = f"The job was {ended['status']}."
        raise errors.RunFailed(
            error.get("code") or ended["status"], error.get("detail") or fallback
        )
    _conclude(ended)


@contextmanager
def shown() -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Takes a job each time it has changed: a bar on a terminal, few plain lines otherwise.

    A job that ended badly isn't shown: how far it had come is no news beside its error.
    """
    out = terminal.console(to_stderr=True)
    if not out.is_terminal:
        yield _plain_lines()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn())
    with Progress(*columns, TextColumn("{task.fields[more]}"), console=out) as bar:
        task = bar.add_task("", total=1.0, more="")

        def update(job: Mapping[str, Any]) -> None:
            bar.update(
                task,
                description=job["status"],
                completed=job["progress"]["fraction"],
                more=_more(job),
                visible=job["status"] not in _BAD_ENDS,
            )

        yield update


def _plain_lines() -> Callable[[Mapping[str, Any]], None]:
    tenths, seen = terminal.Steps(10), ""

    def line(job: Mapping[str, Any]) -> None:
        nonlocal seen
        if job["status"] in _BAD_ENDS:
            return
        fraction = job["progress"]["fraction"]
        if tenths.is_new(fraction) or job["status"] != seen:
            seen = job["status"]
            terminal.say(f"{job['status']} {fraction:.0%} {_more(job)}".rstrip())

    return line


def _say_no_answer() -> None:
    terminal.say(f"no answer yet; trying for {_PATIENCE_SECONDS:.0f} s")


def _more(job: Mapping[str, Any]) -> str:
    if job.get("waiting"):
        return str(job["waiting"]["message"])
    progress = job["progress"]
    if job["status"] != "running":
        return ""
    return f"step {progress['step']:,} of {progress['steps']:,}, {progress['eta_seconds']:.0f} s"


def _conclude(job: Mapping[str, Any]) -> None:
    result = job.get("result") or {}
    for line in report.sentences(result) if result else []:
        terminal.say(line)
    terminal.say(f"`stillhouse report {job['id']}` shows the figures, `pull` brings the best.")
