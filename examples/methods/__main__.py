"""`make methods`: every objective on real data against the control, into `docs/methods.md`.

Each set of data is one job of a service that is started for it: every objective is a variant of
the job's sweep, over the same seeds, and the control without a teacher is shared. The figures,
intervals and verdicts are those of the job's own report.
"""

from __future__ import annotations

import argparse
import json
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from examples.demo import service
from examples.methods import page, plan
from examples.methods.plan import Trial
from examples.run import Specs
from stillhouse import __version__
from stillhouse.cli import terminal
from stillhouse.client import Client

_PAGE = Path(__file__).resolve().parents[2] / "docs" / "methods.md"
_BEGIN, _END = "<!-- figures -->\n", "<!-- end of the figures -->\n"


def main() -> int:
    """Run the trials and write the page; 1 if a job failed."""
    parser = argparse.ArgumentParser(prog="python -m examples.methods", description=__doc__)
    parser.add_argument("--seeds", type=int, default=plan.SEEDS)
    parser.add_argument("--only", help="one set of data; its section is printed, nothing written")
    given = parser.parse_args()
    began = time.monotonic()
    sections = []
    for trial in plan.TRIALS:
        if given.only in (None, trial.name):
            sections.append(page.section(trial, run(trial, seeds=given.seeds)))
            print(sections[-1], flush=True)
    if given.only is None:
        minutes = (time.monotonic() - began) / 60
        _write(sections, f"{_hardware()}; {minutes:.0f} minutes in all.")
    return 0


def run(trial: Trial, *, seeds: int) -> dict[str, Any]:
    """A trial's report.

    Args:
        trial: What to run.
        seeds: How many.

    Returns:
        The job's `result`.

    Raises:
        RuntimeError: The job didn't succeed.
    """
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        trial.write(folder)
        with service.running(folder) as url, Client(url, timeout=60) as client:
            names = {"dataset": "", "teacher": ""}
            fill = Specs(client, folder, folder, names, None).fill
            source = {"source": fill({"blob": f"@{trial.file}"})}
            names["dataset"] = client.wait_ready(
                client.create_dataset(trial.dataset | source)["id"]
            )["id"]
            teacher = fill({"name": "teacher"} | trial.teacher)
            names["teacher"] = client.wait_ready(client.create_teacher(teacher)["id"])["id"]
            job = client.wait(client.submit(fill(spec(trial, seeds=seeds)))["id"])
            if job["status"] != "succeeded":
                raise RuntimeError(f"{trial.name}: {json.dumps(job['error'])}")
            terminal.say(f"{trial.name}: {job['started_at']} to {job['finished_at']}")
            result: dict[str, Any] = client.report(job["id"])["result"]
            return result


def spec(trial: Trial, *, seeds: int) -> dict[str, Any]:
    """A trial as a job."""
    return {
        "name": trial.name,
        "teachers": [{"id": "@teacher"}],
        "dataset": "@dataset",
        "students": [trial.student],
        "training": trial.training,
        "seeds": seeds,
        "sweep": {"kind": "grid", "parameters": {"/objective": list(trial.objectives.values())}},
    }


def _write(sections: list[str], where: str) -> None:
    before, _, rest = _PAGE.read_text(encoding="utf-8").partition(_BEGIN)
    after = rest.partition(_END)[2]
    made = "\n\n".join([f"Made by `make methods` on {where}", *sections])
    _PAGE.write_text(f"{before}{_BEGIN}\n{made}\n\n{_END}{after}", encoding="utf-8")


def _hardware() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    name = names[0] if names else platform.processor()
    return f"{len(names)} x {name}, torch {torch.__version__}, Stillhouse {__version__}"


if __name__ == "__main__":
    sys.exit(main())
