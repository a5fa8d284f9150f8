"""The commands of whoever runs the service: list workers, drain one."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from stillhouse.cli import terminal
from stillhouse.cli.terminal import AsJson, AtMost


def workers(*, limit: AtMost = 100, as_json: AsJson = False) -> None:
    """List workers, newest first, with the run that each is at."""
    with terminal.client() as client:
        found = list(itertools.islice(client.workers(), limit))
    titles = ("worker", "status", "kind", "device", "run", "version", "name")
    terminal.show_list(found, titles, cells=_cells, as_json=as_json)


def drain(
    worker: Annotated[str, typer.Argument(help="wrk_…")],
    *,
    undo: Annotated[bool, typer.Option("--undo", help="Let it go on.")] = False,
    as_json: AsJson = False,
) -> None:
    """Let a worker finish what it has and take nothing new.

    `stillhouse drain --undo wrk_…`, or a restart, takes it back.
    """
    with terminal.client() as client:
        found = client.undrain(worker) if undo else client.drain(worker)
    if as_json:
        terminal.show(found)
    else:
        at = f", at {found['run']}" if found.get("run") else ""
        typer.echo(f"{worker} {found['status']}{at}")
        if not undo:
            terminal.say(f"`stillhouse drain --undo {worker}`, or a restart, takes it back")


def _cells(one: Mapping[str, Any]) -> tuple[str, ...]:
    run = one.get("run") or ""
    return one["id"], one["status"], one["kind"], one["device"], run, one["version"], one["name"]
