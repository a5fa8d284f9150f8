"""`python -m benchmarks.downloads`: one file by 1, 8 and 64 clients at once, beside a bare socket.

Clients and bare socket are threads; all of it shares this machine's cores.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from benchmarks import memory, table, transfer, wire
from benchmarks.table import Bound, Finding, Measured, Report
from tests.servers import Service

CLIENTS = (1, 8, 64)
BYTES = 2 * 1024**3
"""In a round, by all clients together."""
ROUNDS = 5
MIB_A_CLIENT = 1
"""A piece that is on its way; what counts is that it is no more for a larger file."""


def measure(*, size: int = BYTES, rounds: int = ROUNDS) -> Report:
    """Download through the API and from a bare socket, in turn."""
    measured: list[Measured] = []
    findings: list[Finding] = []
    with tempfile.TemporaryDirectory(prefix="downloads") as name:
        folder = Path(name)
        (folder / "service").mkdir()
        service = Service(folder / "service")
        service.start()
        try:
            for clients in CLIENTS:
                rates, growth = _compare(service, folder, clients, size // clients, rounds)
                measured += [*rates, growth]
                findings += [
                    table.ratio(f"{clients} clients, API / loopback", *rates),
                    Finding(
                        f"{clients} clients, highest growth of the API", max(growth.values), "MiB",
                        Bound("at most", transfer.GROWTH_MIB + clients * MIB_A_CLIENT),
                    ),
                ]  # fmt: skip
        finally:
            service.stop()
    return Report(
        "Downloads by many", measured=tuple(measured), findings=tuple(findings),
        note=f"{rounds} rounds of {size / 1024**3:.3g} GiB each way.",
    )  # fmt: skip


def _compare(
    service: Service, folder: Path, clients: int, size: int, rounds: int
) -> tuple[tuple[Measured, Measured], Measured]:
    source = folder / "source"
    sha256 = transfer.make(source, size, seed=clients)
    wire.put(service.port, f"/v1/blobs/{sha256}", source)
    path = transfer.publish(service, sha256, size)
    [pid] = service.descendants("app")
    total = size * clients / 1024**2
    ours: list[float] = []
    bare: list[float] = []
    growth: list[float] = []
    wire.get_by_many(service.port, path, size, clients=clients)  # warm
    for _ in range(rounds):
        with wire.loopback(source) as port:
            bare.append(total / wire.get_by_many(port, "/", size, clients=clients))
        with memory.watched(pid) as grown:
            ours.append(total / wire.get_by_many(service.port, path, size, clients=clients))
        growth.append(grown.mib)
    return (
        Measured(f"{clients} clients, API", ours, "MiB/s"),
        Measured(f"{clients} clients, loopback", bare, "MiB/s"),
    ), Measured(f"{clients} clients, the API's memory grew by", growth, "MiB")


def main() -> int:
    """Measure and print."""
    report = measure()
    table.show(report)
    return 0 if report.holds else 1


if __name__ == "__main__":
    sys.exit(main())
