"""`stillhouse report`: what the teacher was worth, as a table."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.table import Table

from stillhouse.cli import terminal
from stillhouse.cli.terminal import AsJson

Json = Mapping[str, Any]

LEGEND = "gap: train less test, in percentage points; the larger, the more over-fitted."
"""What goes below a table."""


def report(job: Annotated[str, typer.Argument(help="job_…")], *, as_json: AsJson = False) -> None:
    """Show a job's students, its teacher and its controls side by side."""
    with terminal.client() as client:
        found = client.report(job)
    if as_json:
        terminal.show(found)
        return
    result = found["result"]
    out = terminal.console()
    out.print(table(result))
    out.print(LEGEND, soft_wrap=True)
    for line in (*variants(found.get("sweep")), *sentences(result)):
        out.print(line, soft_wrap=True)
    if result.get("best"):
        out.print(f"best: {result['best']['student']}, {result['best']['why']}", soft_wrap=True)


def table(result: Json) -> Table:
    """Teachers first, then each student's arms; accuracy in per cent, gap in points."""
    metric = result["metric"]
    rows = Table(box=None, pad_edge=False)
    rows.add_column("network")
    rows.add_column("arm")
    for title in (f"test {metric}", "gap, points", "parameters", "bytes", "latency ms"):
        rows.add_column(title, justify="right")
    for teacher in result["teachers"]:
        rows.add_row("teacher", "", *_quality(teacher, metric), *_sizes(teacher))
    for arm in result["arms"]:
        rows.add_row(arm["student"], _named(arm["arm"], arm), *_quality(arm, metric), *_sizes(arm))
    return rows


def sentences(result: Json) -> list[str]:
    """What each comparison says, then the warnings."""
    said = [f"{_named(one['student'], one)}: {one['sentence']}" for one in result["comparisons"]]
    return said + [f"warning: {one['message']} ({one['code']})" for one in result["warnings"]]


def variants(sweep: Json | None) -> list[str]:
    """What each variant of a sweep was given, and which one validation selects."""
    return [
        f"{one['name']}: {_changes(one['changes'])}"
        + (" (selected by validation)" if one["selected"] else "")
        for one in (sweep or {}).get("variants", [])
    ]


def _changes(changes: Json) -> str:
    return ", ".join(f"{pointer} = {json.dumps(value)}" for pointer, value in changes.items())


def _named(name: str, one: Json) -> str:
    """A name, and the variant that it's of."""
    return f"{name} {one['variant']}" if one.get("variant") else name


def _mean(value: Any) -> float | None:
    """A figure of one network, or its mean over seeds."""
    found = value.get("mean") if isinstance(value, Mapping) else value
    return None if found is None else float(found)


def _quality(row: Json, metric: str) -> tuple[str, str]:
    gap = _mean(row.get("gap"))
    return _test(row["test"].get(metric)), _count(None) if gap is None else f"{100 * gap:+.2f}"


def _test(value: Any) -> str:
    mean = _mean(value)
    if mean is None:
        return _count(None)
    spread = value.get("std") if isinstance(value, Mapping) else None
    return f"{mean:.2%}" if spread is None else f"{mean:.2%} ± {100 * spread:.2f}"


def _sizes(row: Json) -> tuple[str, str, str]:
    latencies = row.get("latency") or []
    single = next((one for one in latencies if one["batch"] == 1), None)
    latency = _count(None) if single is None else f"{single['median_ms']:.2f}"
    return _count(row.get("parameters")), _count(row.get("bytes")), latency


def _count(number: int | None) -> str:
    return "–" if number is None else f"{number:,}"  # noqa: RUF001 - a dash where there is no figure
