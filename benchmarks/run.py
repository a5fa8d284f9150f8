"""`make bench`: every benchmark, one after another, as Markdown.

`python benchmarks/run.py transfer loop` runs some of them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable

from benchmarks import (
    downloads,
    lists,
    loop,
    machine,
    start,
    status,
    table,
    traffic,
    transfer,
    workers,
)
from benchmarks.table import Report

BENCHMARKS: dict[str, Callable[[], Report]] = {
    "loop": loop.measure,
    "start": start.measure,
    "status": status.measure,
    "traffic": traffic.measure,
    "workers": workers.measure,
    "transfer": transfer.measure,
    "downloads": downloads.measure,
    "lists": lists.measure,
}


def main() -> int:
    """Run what was named, or all; 1 if a bound was missed."""
    named = sys.argv[1:] or list(BENCHMARKS)
    if unknown := [name for name in named if name not in BENCHMARKS]:
        sys.stderr.write(f"no such benchmark: {', '.join(unknown)}; {', '.join(BENCHMARKS)}\n")
        return 2
    print(machine.describe())
    reports = []
    for name in named:
        reports.append(BENCHMARKS[name]())
        table.show(reports[-1])
    return 0 if all(report.holds for report in reports) else 1


if __name__ == "__main__":
    sys.exit(main())
