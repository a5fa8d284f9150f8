from __future__ import annotations

from typing import Any

import pytest

from tests.stillhouse.cli.conftest import run
from tests.stillhouse.conftest import Script, as_json

WORKER = "wrk_" + "w" * 26


def worker(status: str, **fields: Any) -> dict[str, Any]:
    shown = {"object": "worker", "id": WORKER, "name": "gpu-box-3f9a#0", "status": status}
    return shown | {"kind": "cuda", "device": "H100", "run": None, "version": "1.0"} | fields


def test_workers_are_listed(script: Script) -> None:
    script.on("/v1/workers", as_json({"data": [worker("busy", run="run_1")], "has_more": False}))
    title, line = run(script, "workers").stdout.splitlines()
    assert title.split() == ["worker", "status", "kind", "device", "run", "version", "name"]
    assert line.split() == [WORKER, "busy", "cuda", "H100", "run_1", "1.0", "gpu-box-3f9a#0"]


@pytest.mark.parametrize(
    ("flags", "method", "status"), [((), "POST", "draining"), (("--undo",), "DELETE", "ready")]
)
def test_a_worker_is_drained_and_taken_back(
    script: Script, flags: tuple[str, ...], method: str, status: str
) -> None:
    script.on(f"/v1/workers/{WORKER}/drain", as_json(worker(status, run="run_1"), 202))
    done = run(script, "drain", WORKER, *flags)
    assert done.stdout == f"{WORKER} {status}, at run_1\n"
    assert (f"stillhouse drain --undo {WORKER}" in done.stderr) == (not flags)
    assert script.requests[-1].method == method
