"""`stillhouse methods`: the objectives, as `GET /v1/methods` has them; no service needed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from stillhouse.cli import terminal
from stillhouse.cli.terminal import AsJson
from stillhouse.spec.methods import METHODS

_KNOWN = {method.kind: method for method in METHODS}


def _is_known(kind: str | None) -> str | None:
    if kind is not None and kind not in _KNOWN:
        raise typer.BadParameter(f"'{kind}' is none of {', '.join(_KNOWN)}.")
    return kind


def methods(
    kind: Annotated[
        str | None, typer.Argument(callback=_is_known, help="One objective. Default: list them.")
    ] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Say what a student can be trained to do: formula, source, needs, limits, defaults."""
    if kind is None:
        found = [method.describe() for method in METHODS]
        terminal.show_list(found, ("kind", "needs", "summary"), cells=_cells, as_json=as_json)
        return
    described = _KNOWN[kind].describe()
    if as_json:
        terminal.show(described)
        return
    for line in _lines(described):
        typer.echo(line)


def _cells(one: Mapping[str, Any]) -> tuple[str, ...]:
    return one["kind"], ", ".join(one["needs"]), one["summary"]


def _lines(one: Mapping[str, Any]) -> list[str]:
    depends = "depends on the batch" if one["batch_dependent"] else "an average over items"
    limits = f"{one['min_classes']} classes and {one['min_batch']} items at least; {depends}"
    fields = {name: value for name, value in one["schema"]["properties"].items() if name != "kind"}
    return [
        f"{one['kind']}: {one['summary']}",
        "",
        f"formula   {one['formula']}",
        f"source    {one['source']}",
        f"needs     {', '.join(one['needs'])}",
        f"limits    {limits}",
        *(f"note      {note}" for note in one["notes"]),
        *(f"default   {name} = {json.dumps(spec['default'])}" for name, spec in fields.items()),
    ]
