"""`stillhouse bench`: what a pulled student takes on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from stillhouse import bench as measuring
from stillhouse.cli import terminal
from stillhouse.cli.terminal import AsJson


def bench(
    folder: Annotated[Path, typer.Argument(help="A student's, as `stillhouse pull` wrote it.")],
    *,
    threads: Annotated[
        int | None, typer.Option(min=1, help="Default: all cores that may be used.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Time a pulled student here: median and 95th percentile, one item and 64, warm."""
    try:
        found = measuring.measure(folder, threads=threads or measuring.cores())
    except measuring.NotMeasurable as error:
        terminal.say(str(error))
        raise typer.Exit(2) from error
    if as_json:
        terminal.show([timing.as_dict() for timing in found])
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("runtime")
    for title in ("threads", "batch", "median ms", "p95 ms", "items/s"):
        table.add_column(title, justify="right")
    for one in found:
        speed = one.batch / one.median_ms * 1000
        table.add_row(
            one.runtime, str(one.threads), str(one.batch), f"{one.median_ms:.3f}",
            f"{one.p95_ms:.3f}", f"{speed:,.0f}",
        )  # fmt: skip
    terminal.print_table(table)
    terminal.say(found[0].hardware)
