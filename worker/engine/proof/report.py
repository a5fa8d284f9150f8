"""The report run: every served file measured, the arms joined, the verdict pronounced.

The `result` of its `succeeded` message is

    {"result": …,                         the contract's `result`
     "extra": {"curves": [{id, student, arm, variant, seed, best_epoch, history}],
               "prepared": …,             what the prepare run found
               "sweep": …,                what a sweep found (`sweep.table`); null without one
               "dataset": {id, fingerprint, classes, rows, test_opened, transfer_rows},
               "environment": {version, torch, timm, device, hardware, threads}},
     "students": {student id: {"train": {…}, "validation": {…}, "test": {…}}}}

and its files are listed as `<student id>/predictions.npz`, `<student id>/README.md` and
`<student id>/report.json`. `context.test_opened` counts the jobs that read the test part
before this one.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch

from stillhouse.errors import RunFailed
from worker.engine import course
from worker.engine.data import parts
from worker.engine.proof import (
    arms,
    caveats,
    dossier,
    evaluation,
    latency,
    measurement,
    naming,
    ranking,
    sweep,
)
from worker.engine.proof.arms import Arm, Trained
from worker.engine.proof.measurement import Bench, MeasuredTeacher
from worker.engine.proof.sweep import Specs
from worker.engine.stop import Say
from worker.protocol import Assignment

Listing = list[tuple[str, Path]]


def make(assignment: Assignment, *, say: Say) -> tuple[dict[str, Any], Listing]:
    """Measure and judge a job.

    Args:
        assignment: Of kind "report".
        say: Takes progress and events.

    Returns:
        The `result` of the succeeded message, and the files: listed name, place.

    Raises:
        RunFailed: `no_students`, when no training run left one.
    """
    if not assignment["students"]:
        raise RunFailed("no_students", "No training run succeeded; see the runs' errors.")
    started = time.perf_counter()
    bench = _bench(assignment, say=say)
    teachers = [measurement.of_teacher(bench, files) for files in assignment["teachers"]]
    reference = teachers[0].test_logits if teachers else None
    trained = measurement.of_students(bench, assignment["students"], reference=reference)
    joined = _join(bench.specs, trained, assignment["missing"])
    result = _result(assignment, bench, teachers, trained, joined)
    result["cost"] = _cost(assignment, teachers, seconds=time.perf_counter() - started)
    _announce(result["warnings"], say=say)
    listing = dossier.write(assignment, bench, trained, result)
    figures = {student.id: student.figures for student in trained}
    extra = _extra(assignment, bench)
    extra["sweep"] = sweep.table(assignment, joined, bench.specs, select=bench.spec.select)
    return {"result": result, "extra": extra, "students": figures}, listing


def _bench(assignment: Assignment, *, say: Say) -> Bench:
    dataset = assignment["dataset"]
    opened = {name: parts.open_part(path) for name, path in dataset["parts"].items()}
    given = {name: part for name, part in opened.items() if len(part)}
    asked = [teacher for teacher in assignment["teachers"] if teacher["weights"] is not None]
    measured = len(asked) + len(assignment["students"])
    return Bench(
        specs=sweep.specs_of(assignment),
        dataset=dataset["id"],
        classes=len(dataset["classes"]),
        parts=given,
        device=torch.device(assignment["device"]),
        files=assignment["files"],
        work=Path(assignment["work"]),
        advance=_progress(say, steps=measured * evaluation.batches(given)),
    )


def _progress(say: Say, *, steps: int) -> Callable[[], None]:
    done = 0

    def advance() -> None:
        nonlocal done
        done += 1
        say({"type": "progress", "step": done, "steps": steps, "epoch": 0})

    return advance


def _result(
    assignment: Assignment,
    bench: Bench,
    teachers: list[MeasuredTeacher],
    trained: list[Trained],
    joined: list[Arm],
) -> dict[str, Any]:
    clusters = evaluation.copies(bench.parts["test"]) if "test" in bench.parts else None
    standing = caveats.of_teachers(
        assignment["teachers"], dataset=bench.dataset, names=naming.of_teachers(assignment)
    )
    leaked = _leaked(assignment, bench)
    conditions = filter(None, (standing.condition, caveats.of_transfer(assignment)))
    comparisons = arms.compare(
        sweep.pairs(joined, bench.specs),
        clusters=clusters,
        doubts=(*standing.doubts, *([caveats.LEAKED] if leaked else [])),
        condition=" ".join(conditions),
    )
    copies = 0 if clusters is None else len(clusters) - len(np.unique(clusters))
    found = caveats.of_result(assignment, joined, comparisons, copies=copies)
    found += caveats.of_leak(leaked)
    found += caveats.of_ranking(trained, select=bench.spec.select)
    rivals = [student for student in trained if student.arm == bench.spec.arms[0]]
    return {
        "metric": "accuracy",
        "teachers": [measured.figures for measured in teachers],
        "arms": [arm.as_dict() for arm in joined],
        "comparisons": comparisons,
        "best": ranking.best(rivals, select=bench.spec.select),
        "warnings": [*standing.warnings, *found],
    }


def _leaked(assignment: Assignment, bench: Bench) -> int:
    """Test rows whose items the transfer sets have, too: students have seen them."""
    if "test" not in bench.parts:
        return 0
    return evaluation.count_shared(
        bench.parts["test"], course.transfer_parts(assignment["transfer"])
    )


def _join(specs: Specs, trained: list[Trained], missing: list[dict[str, Any]]) -> list[Arm]:
    """Arms by student, variant and arm, each with its seeds, all in the job's order."""
    spec = specs[None]
    order = {seed: place for place, seed in enumerate(spec.seed_list)}
    joined: list[Arm] = []
    for student, variant, arm in product(spec.students, specs, spec.arms):
        key = (student.name, arm, variant)
        own = [one for one in trained if (one.student, one.arm, one.variant) == key]
        lost = [
            {name: run.get(name) for name in ("seed", "code", "detail")}
            for run in missing
            if (run["student"], run["arm"], run.get("variant")) == key
        ]
        seeds = tuple(sorted(own, key=lambda one: order[one.seed]))
        if own or lost or len(specs) == 1:
            joined.append(Arm(student.name, arm, variant, seeds, tuple(lost)))
    return joined


def _cost(
    assignment: Assignment, teachers: list[MeasuredTeacher], *, seconds: float
) -> dict[str, Any]:
    """What the job took, over its prepare, train and report runs."""
    prepared = assignment["prepared"] or {}
    runs = [prepared, *(student["result"] for student in assignment["students"])]
    forwards = sum(int(run.get("teacher_forwards", 0)) for run in runs)
    return {
        "teacher_forwards": forwards + sum(measured.items for measured in teachers),
        "store_hits": sum(int(run.get("store_hits", 0)) for run in runs),
        "stages": {
            "prepare": float(prepared.get("seconds", 0.0)),
            "train": sum(float(run.get("train_seconds", 0.0)) for run in runs[1:]),
            "report": seconds,
        },
        "efficiency": None,
    }


def _announce(warnings: list[dict[str, str]], *, say: Say) -> None:
    for warning in warnings:
        code, detail = warning["code"], warning["message"]
        say({"type": "event", "level": "warn", "code": code, "detail": detail})


def _extra(assignment: Assignment, bench: Bench) -> dict[str, Any]:
    dataset = assignment["dataset"]
    return {
        "curves": [
            {key: student[key] for key in ("id", "student", "arm", "variant", "seed")}
            | {key: student["result"].get(key) for key in ("best_epoch", "history")}
            for student in assignment["students"]
        ],
        "prepared": assignment["prepared"],
        "dataset": {
            "id": dataset["id"],
            "fingerprint": dataset["fingerprint"],
            "classes": dataset["classes"],
            "rows": {name: len(part) for name, part in bench.parts.items()},
            "test_opened": caveats.opened(assignment),
            "transfer_rows": caveats.extra_rows(assignment),
        },
        "environment": {
            "version": assignment["context"].get("version"),
            "torch": str(torch.__version__),
            "timm": timm.__version__,
            "device": bench.device.type,
            "hardware": latency.hardware(bench.device),
            "threads": torch.get_num_threads(),
        },
    }
