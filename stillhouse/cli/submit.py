"""`stillhouse submit`: says what a job starts, then starts it."""

from __future__ import annotations

import contextlib
import functools
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from stillhouse import errors
from stillhouse.cli import flags, terminal, watch
from stillhouse.cli.terminal import AsJson
from stillhouse.client import Client

_OTHER_RUNS = 2
"""One prepares, one reports."""


def submit(
    spec: Annotated[
        Path | None, typer.Argument(help="A job as JSON, or - for stdin; flags go on top.")
    ] = None,
    *,
    teacher: Annotated[
        list[str] | None, typer.Option(help="tch_…, or self; repeat: their outputs are averaged.")
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="ds_…")] = None,
    transfer: Annotated[
        list[str] | None, typer.Option(help="ds_…, trained on without labels; repeat.")
    ] = None,
    student: Annotated[
        list[str] | None, typer.Option(help="timm/resnet10t, or small=timm/resnet10t; repeat.")
    ] = None,
    seeds: Annotated[
        int | None, typer.Option(help="One is provisional; three or more make it firm.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(help="Default: by the number of rows.")] = None,
    temperature: Annotated[float | None, typer.Option(help="Of the soft targets.")] = None,
    sweep: Annotated[
        list[str] | None,
        typer.Option(help="objective.0.temperature=1,2,4; repeat: every combination."),
    ] = None,
    export: Annotated[list[str] | None, typer.Option(help="onnx.")] = None,
    assign: Annotated[
        list[str] | None, typer.Option("--set", help="Any field: training.batch_size=64; repeat.")
    ] = None,
    name: Annotated[str | None, typer.Option(help="The job's name.")] = None,
    dry_run: Annotated[bool, typer.Option(help="Say what it would start, start nothing.")] = False,
    follow: Annotated[bool, typer.Option("--watch", help="Stay until it has ended.")] = False,
    as_json: AsJson = False,
) -> None:
    """Start a job: a teacher's students, and the same without the teacher."""
    body = _read(spec)
    body |= flags.present(name=name, dataset=dataset, seeds=seeds)
    if teacher:
        body["teachers"] = [flags.teacher(text) for text in teacher]
    body |= flags.present(transfer=transfer or None, exports=export or None)
    if sweep:
        body["sweep"] = flags.sweep(sweep)
    if student:
        body["students"] = [_student(text) for text in student]
    if epochs is not None:
        flags.place(body, f"training.epochs={epochs}")
    if temperature is not None:
        body["objective"] = _at_temperature(body.get("objective"), temperature)
    for assignment in assign or []:
        flags.place(body, assignment)
    with terminal.client() as client:
        _run(client, body, dry_run=dry_run, follow=follow, as_json=as_json)


def _run(
    client: Client, body: Mapping[str, Any], *, dry_run: bool, follow: bool, as_json: bool
) -> None:
    if dry_run:
        with terminal.said_after(2, lambda: terminal.say("waiting for a worker…")):
            estimate = client.estimate(body)
        _announce(body, estimate)
        if as_json:
            terminal.show(estimate)
        return
    _announce_soon(client, body)
    job = client.submit(body)
    if not follow:
        terminal.show(job) if as_json else typer.echo(job["id"])
        return
    terminal.say(f"{job['id']} is submitted")
    watch.follow(client, job["id"], as_json=as_json)


def plan(spec: Mapping[str, Any], estimate: Mapping[str, Any]) -> str:
    """Arms by seeds by students, the runs that makes, and about how long they take.

    Args:
        spec: The job as it is sent.
        estimate: The service's; an empty one while there is none.

    Returns:
        One line.
    """
    # Nothing is resolved while an input is being examined.
    known = estimate.get("resolved") or spec
    seeds = known.get("seeds", 1)
    counts = {
        "arm": 1 + len(known.get("controls", ["no_teacher"])),
        "seed": seeds if isinstance(seeds, int) else len(seeds),
        "student": len(known.get("students", ())),
    }
    factors = " × ".join(counted(count, noun) for noun, count in counts.items())
    runs = counts["arm"] * counts["seed"] * counts["student"]
    if known.get("sweep"):
        # Variants share what they would train alike: the service knows how many runs are left.
        variants = estimate.get("variants")
        factors += f" × {counted(len(variants), 'variant')}" if variants else ", swept"
        if "runs" not in estimate:
            return factors
        runs, factors = estimate["runs"] - _OTHER_RUNS, f"{factors}, some shared"
    return f"{factors} = {counted(runs, 'run')}{_time(estimate.get('seconds'))}"


def counted(count: int, noun: str) -> str:
    """`1 run`, `2 runs`."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"


def _time(seconds: Mapping[str, float | None] | None) -> str:
    low, high = (seconds or {}).get("low"), (seconds or {}).get("high")
    if low is None or high is None:
        return ""
    middle = (low + high) / 2
    if middle < 90:
        return f", about {max(1, round(middle))} s"
    return (
        f", about {round(middle / 60)} min" if middle < 5400 else f", about {middle / 3600:.1f} h"
    )


def _announce_soon(client: Client, body: Mapping[str, Any]) -> None:
    """Says at once what starts; a worker in another run is no reason to hold the job back."""
    begin = functools.cache(lambda: _sketch(body))
    try:
        with terminal.said_after(2, begin):
            estimate = client.estimate(body, wait_seconds=5)
    except errors.NoWorker:
        begin()
        terminal.say("no time estimate, since every worker is busy or away")
    except errors.Unavailable as error:
        terminal.say(f"no estimate: {error.detail}")
    else:
        _announce(body, estimate)


def _sketch(body: Mapping[str, Any]) -> None:
    with contextlib.suppress(TypeError):  # the service says better what is wrong with a field
        terminal.say(plan(body, {}))


def _announce(spec: Mapping[str, Any], estimate: Mapping[str, Any]) -> None:
    terminal.say(plan(spec, estimate))
    for warning in estimate.get("warnings") or []:
        terminal.say(f"warning: {warning['message']} ({warning['code']})")


def _read(path: Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        text = sys.stdin.read() if str(path) == "-" else path.read_text(encoding="utf-8")
        body = json.loads(text)
    except (OSError, ValueError) as error:
        raise typer.BadParameter(f"'{path}' is no job spec: {error}.") from error
    if not isinstance(body, dict):
        raise typer.BadParameter(f"'{path}' is no job spec: it must be a JSON object.")
    return body


def _student(text: str) -> dict[str, Any]:
    name, equals, rest = text.partition("=")
    network = flags.network(rest if equals else text)
    return {"name": name if equals else network["name"][:64], "network": network}


def _at_temperature(objective: list[dict[str, Any]] | None, temperature: float) -> list[Any]:
    if objective is None:
        soft = {"kind": "soft_targets", "temperature": temperature, "weight": 0.9}
        return [soft, {"kind": "labels", "weight": 0.1}]
    if not any(term.get("kind") == "soft_targets" for term in objective):
        raise typer.BadParameter("--temperature needs a soft_targets term in the objective.")
    return [
        term | {"temperature": temperature} if term.get("kind") == "soft_targets" else term
        for term in objective
    ]
