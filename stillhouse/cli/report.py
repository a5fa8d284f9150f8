"""`stillhouse report`: what the teacher was worth, as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.table import Table

from stillhouse.cli import terminal
from stillhouse.cli.terminal import AsJson

Json = Mapping[str, Any]


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
    for comparison in result["comparisons"]:
        out.print(comparison["sentence"], soft_wrap=True)
    for warning in result["warnings"]:
        out.print(f"warning: {warning['message']} ({warning['code']})", soft_wrap=True)
    if result.get("best"):
        out.print(f"best: {result['best']['student']}, {result['best']['why']}", soft_wrap=True)


def table(result: Json) -> Table:
    """Teachers first, then each student's arms; accuracy in per cent, gap in points."""
    metric = result["metric"]
    rows = Table(box=None, pad_edge=False)
    rows.add_column("network")
    rows.add_column("arm")
    for title in (f"test {metric}", "gap", "parameters", "bytes", "latency ms"):
        rows.add_column(title, justify="right")
    for teacher in result["teachers"]:
        gap = _difference(_figure(teacher["train"], metric), _figure(teacher["test"], metric))
        rows.add_row("teacher", "", _test(teacher, metric), _points(gap), *_sizes(teacher))
    for arm in result["arms"]:
        gap = _figure(arm["gap"], metric)
        rows.add_row(arm["student"], arm["arm"], _test(arm, metric), _points(gap), *_sizes(arm))
    return rows


def _figure(metrics: Json | None, metric: str) -> float | None:
    """A metric's value, or its mean over seeds."""
    value = (metrics or {}).get(metric)
    if isinstance(value, Mapping):
        value = value.get("mean")
    return None if value is None else float(value)


def _difference(train: float | None, test: float | None) -> float | None:
    return None if train is None or test is None else train - test


def _test(row: Json, metric: str) -> str:
    mean = _figure(row["test"], metric)
    if mean is None:
        return "–"  # noqa: RUF001 - a dash where there is no figure
    value = row["test"][metric]
    spread = value.get("std") if isinstance(value, Mapping) else None
    return f"{mean:.2%}" if spread is None else f"{mean:.2%} ± {100 * spread:.2f}"


def _points(gap: float | None) -> str:
    return "–" if gap is None else f"{100 * gap:+.2f}"  # noqa: RUF001 - as above


def _sizes(row: Json) -> tuple[str, str, str]:
    latencies = row.get("latency") or []
    single = next((one for one in latencies if one["batch"] == 1), None)
    latency = "–" if single is None else f"{single['median_ms']:.2f}"  # noqa: RUF001 - as above
    return _count(row.get("parameters")), _count(row.get("bytes")), latency


def _count(number: int | None) -> str:
    return "–" if number is None else f"{number:,}"  # noqa: RUF001 - as above
