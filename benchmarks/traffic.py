"""`python -m benchmarks.traffic`: what one replica carries, as shares of what lies below it.

Submits a second, each committed, against the same database's own inserts of one row, each
committed; and status reads a second against a FastAPI route that returns a constant. The four
take turns; PostgreSQL keeps fsync.
"""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import update

from benchmarks import crowd, hammer, service, table
from benchmarks.hammer import Open
from benchmarks.table import Bound, Finding, Measured, Report
from core import migrate
from core.db import Database
from core.tables import Job
from tests import servers, waiting
from tests.stage import Stage

ROUNDS = 5
SECONDS = 2.0
CLIENTS = FEW, MANY = (1, 16)
_SUBMITS = Bound("at least", 0.15)
_READS = Bound("at least", 0.3)


def measure(*, rounds: int = ROUNDS, seconds: float = SECONDS) -> Report:
    """Hammer both databases with one client and with several."""
    measured: list[Measured] = []
    findings: list[Finding] = []
    for kind in ("SQLite", "PostgreSQL"):
        with _opened(kind) as things:
            found = {
                clients: _in_turn(kind, things, clients=clients, rounds=rounds, seconds=seconds)
                for clients in CLIENTS
            }
        measured += [item for each in found.values() for item in each.values()]
        findings += _compare(found[FEW], f"{kind}, {FEW} client", is_bound=False)
        findings += _compare(found[MANY], f"{kind}, {MANY} clients", is_bound=True)
        findings.append(
            table.ratio(
                f"{kind}, {MANY} clients' submits / one connection's inserts",
                found[MANY]["submits"], found[FEW]["inserts"],
            )
        )  # fmt: skip
    return Report(
        "Submits and status reads of one replica",
        measured=tuple(measured),
        findings=tuple(findings),
        note=f"{rounds} rounds of {seconds:.0f} s each. Clients are threads of one process.",
    )


def _compare(found: dict[str, Measured], where: str, *, is_bound: bool) -> list[Finding]:
    pairs = (
        ("submits", "inserts", _SUBMITS),
        ("status reads", "constant", _READS),
        ("status reads, queued", "constant", None),
    )
    return [
        table.ratio(
            f"{where}, {above} / {below}", found[above], found[below],
            bound=bound if is_bound else None,
        )
        for above, below, bound in pairs
    ]  # fmt: skip


def _in_turn(
    kind: str, things: dict[str, Open], *, clients: int, rounds: int, seconds: float
) -> dict[str, Measured]:
    found: dict[str, list[float]] = {name: [] for name in things}
    for _ in range(rounds):
        for name, open_one in things.items():
            found[name].append(hammer.rate(open_one, clients=clients, seconds=seconds))
    return {
        name: Measured(f"{kind}, {clients} clients, {name}", values, "/s")
        for name, values in found.items()
    }


@contextlib.contextmanager
def _opened(kind: str) -> Iterator[dict[str, Open]]:
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="traffic")))
        url = f"sqlite:///{folder / 'traffic.db'}"
        if kind == "PostgreSQL":
            server = stack.enter_context(servers.postgres(durable=True))
            url = servers.fresh_postgres_database(server)
        migrate.upgrade(url)
        hammer.make_bare(url)
        database = Database(url)
        stack.callback(database.close)
        body, finished, queued = _fill(database, folder)
        port = stack.enter_context(service.api(url))
        constant = stack.enter_context(_constant())
        yield {
            "inserts": hammer.insert(url),
            "submits": hammer.request(port, "POST", "/v1/jobs", body, status=201),
            "constant": hammer.request(constant, "GET", "/constant", status=200),
            "status reads": hammer.request(port, "GET", f"/v1/jobs/{finished}", status=200),
            "status reads, queued": hammer.request(port, "GET", f"/v1/jobs/{queued}", status=200),
        }


def _fill(database: Database, folder: Path) -> tuple[bytes, str, str]:
    """A job to submit again and again, one that has ended, and one that waits."""
    stage = Stage(database, crowd.storage(folder))
    dataset, teacher = stage.dataset(), stage.teacher()
    finished, queued = (stage.job(teacher=teacher, dataset=dataset) for _ in range(2))
    with database.write() as session:
        session.execute(update(Job).where(Job.id == finished).values(status="succeeded"))
    spec = {
        "teachers": [{"id": teacher}],
        "dataset": dataset,
        "students": [{"name": "small", "network": {"family": "builtin", "name": "resnet8"}}],
        "metadata": {"ticket": "ML-7"},
    }
    return json.dumps(spec).encode(), finished, queued


@contextlib.contextmanager
def _constant() -> Iterator[int]:
    port = servers.free_port()
    process = subprocess.Popen(
        [sys.executable, "-m", "benchmarks.constant", str(port)], cwd=servers.CHECKOUT
    )
    try:
        waiting.until(lambda: servers.listens(port), seconds=30, what="the constant")
        yield port
    finally:
        process.terminate()
        process.wait()


def main() -> int:
    """Measure and print."""
    report = measure()
    table.show(report)
    return 0 if report.holds else 1


if __name__ == "__main__":
    sys.exit(main())
