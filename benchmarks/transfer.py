"""`python -m benchmarks.transfer`: a large blob up and down, beside what the machine could do.

Up: a share of the slower of copying the file with fsync and hashing it. Down: a share of a bare
socket that sends the same file to the same client.
"""

from __future__ import annotations

import hashlib
import os
import sys
import tempfile
import time
from pathlib import Path

from benchmarks import memory, table, wire
from benchmarks.table import Bound, Measured, Report
from core import files
from core.db import Database
from core.storage import LocalStorage
from core.tables import Dataset
from tests.servers import Service

SIZE = 2 * 1024**3
RUNS = 5
GROWTH_MIB = 64.0


def measure(*, size: int = SIZE, runs: int = RUNS) -> Report:
    """Run everything, interleaved; `size` is in bytes."""
    with tempfile.TemporaryDirectory(prefix="transfer") as name:
        folder = Path(name)
        (folder / "service").mkdir()
        service = Service(folder / "service")
        service.start()
        try:
            return _compare(service, folder, size=size, runs=runs)
        finally:
            service.stop()


def _compare(service: Service, folder: Path, *, size: int, runs: int) -> Report:
    source = folder / "source"
    seconds: dict[str, list[float]] = {
        name: [] for name in ("copy", "hash", "upload", "download", "loopback")
    }
    growth: dict[str, list[float]] = {"upload": [], "download": []}
    [pid] = service.descendants("app")
    for run in range(runs):
        sha256 = make(source, size, seed=run)  # each run's bytes are new to the service
        seconds["copy"].append(_copy(source, folder / "copy"))
        seconds["hash"].append(_hash(source))
        with memory.watched(pid) as grown:
            seconds["upload"].append(wire.put(service.port, f"/v1/blobs/{sha256}", source))
        growth["upload"].append(grown.mib)
        path = publish(service, sha256, size)
        with wire.loopback(source) as port:
            seconds["loopback"].append(wire.get(port, "/", size))
        with memory.watched(pid) as grown:
            seconds["download"].append(wire.get(service.port, path, size))
        growth["download"].append(grown.mib)
        _unpublish(service, sha256)
    return _report(seconds, growth, size)


def _report(seconds: dict[str, list[float]], growth: dict[str, list[float]], size: int) -> Report:
    mib = size / 1024**2
    speed = {
        name: Measured(name, [mib / value for value in values], "MiB/s")
        for name, values in seconds.items()
    }
    slower = min(("copy", "hash"), key=lambda name: speed[name].median)
    grown = {name: Measured(f"memory, {name}", values, "MiB") for name, values in growth.items()}
    at_most = Bound("at most", GROWTH_MIB)
    return Report(
        f"Transfer of {size / 1024**3:.3g} GiB",
        measured=(*speed.values(), *grown.values()),
        findings=(
            table.ratio(
                f"upload / {slower}", speed["upload"], speed[slower], bound=Bound("at least", 0.5)
            ),
            table.ratio(
                "download / loopback", speed["download"], speed["loopback"],
                bound=Bound("at least", 0.6),
            ),
            *(
                table.Finding(f"highest growth, {name}", max(item.values), "MiB", at_most)
                for name, item in grown.items()
            ),
        ),
    )  # fmt: skip


def make(path: Path, size: int, *, seed: int) -> str:
    """A file of bytes that no compression helps; its SHA-256."""
    block = hashlib.shake_256(str(seed).encode()).digest(wire.PIECE_BYTES)
    found = hashlib.sha256()
    with path.open("wb", buffering=0) as file:
        for number in range(size // len(block)):
            piece = number.to_bytes(8, "big") + block[8:]
            file.write(piece)
            found.update(piece)
        os.fsync(file.fileno())
    return found.hexdigest()


def _copy(source: Path, target: Path) -> float:
    began = time.perf_counter()
    with source.open("rb", buffering=0) as reading, target.open("wb", buffering=0) as writing:
        while piece := reading.read(wire.PIECE_BYTES):
            writing.write(piece)
        os.fsync(writing.fileno())
    seconds = time.perf_counter() - began
    target.unlink()
    return seconds


def _hash(source: Path) -> float:
    began = time.perf_counter()
    with source.open("rb") as file:
        hashlib.file_digest(file, "sha256")
    return time.perf_counter() - began


def publish(service: Service, sha256: str, size: int) -> str:
    """Serve an upload as a part of a dataset, and its address."""
    database = Database(service.database_url)
    with database.write() as session:
        row = Dataset(
            id=f"ds_{sha256[:26]}", status="ready", spec={},
            files={"train.npz": {"sha256": sha256, "bytes": size}},
        )  # fmt: skip
        session.add(row)
    database.close()
    return f"/v1/datasets/{row.id}/parts/train.npz"


def _unpublish(service: Service, sha256: str) -> None:
    """Give the disk back before the next run."""
    database = Database(service.database_url)
    with database.write() as session:
        files.forget_upload(session, "default", sha256)
    database.close()
    LocalStorage(service.folder / "storage").delete(sha256)


def main() -> int:
    """Measure and print."""
    report = measure()
    table.show(report)
    return 0 if report.holds else 1


if __name__ == "__main__":
    sys.exit(main())
