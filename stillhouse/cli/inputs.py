"""The commands about what went in: teachers, datasets, and the split of a dataset."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from stillhouse.cli import terminal
from stillhouse.cli.terminal import AsJson, AtMost


def teachers(*, limit: AtMost = 20, as_json: AsJson = False) -> None:
    """List teachers, newest first."""
    with terminal.client() as client:
        found = list(itertools.islice(client.teachers(), limit))
    titles = ("teacher", "status", "network", "parameters", "created", "name")
    terminal.show_list(found, titles, cells=_teacher, as_json=as_json)


def datasets(*, limit: AtMost = 20, as_json: AsJson = False) -> None:
    """List datasets, newest first."""
    with terminal.client() as client:
        found = list(itertools.islice(client.datasets(), limit))
    titles = ("dataset", "status", "rows", "classes", "created", "name")
    terminal.show_list(found, titles, cells=_dataset, as_json=as_json)


def splits(
    dataset: Annotated[str, typer.Argument(help="ds_…")],
    *,
    file: Annotated[
        Path | None, typer.Option("--output", "-o", help="A file. Default: stdout.")
    ] = None,
) -> None:
    """Print which source rows are train, validation and test, as JSON.

    Train a teacher on the train rows alone, and its verdict holds for the test rows.
    """
    with terminal.client() as client:
        found = client.splits(dataset)
        text = json.dumps(found)
        if file is not None:
            file.write_text(text + "\n", encoding="utf-8")
    if file is None:
        typer.echo(text)
    else:
        terminal.say(f"{file}: {rows({part: len(found[part]) for part in found})}")


def rows(counts: Mapping[str, int]) -> str:
    """`1,257 train, 180 validation, 360 test`, without the parts that are empty."""
    return ", ".join(f"{count:,} {part}" for part, count in counts.items() if count)


def _teacher(one: Mapping[str, Any]) -> tuple[str, ...]:
    network, parameters = one.get("network") or {}, one.get("parameters")
    name = "/".join(str(network[key]) for key in ("family", "name") if network.get(key))
    count = "" if parameters is None else f"{parameters:,}"
    return one["id"], one["status"], name, count, terminal.minute(one), one.get("name") or ""


def _dataset(one: Mapping[str, Any]) -> tuple[str, ...]:
    classes = one.get("classes")
    count = "" if classes is None else f"{len(classes):,}"
    parts = rows(one.get("rows") or {})
    return one["id"], one["status"], parts, count, terminal.minute(one), one.get("name") or ""
