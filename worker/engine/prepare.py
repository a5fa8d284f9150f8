"""The prepare run: whether everything fits, before anything is spent, and what it will cost.

Its result is {"students": {name: {parameters, macs, bytes, step_seconds}}, "teachers": {id:
{parameters, macs, item_seconds, train, validation}}, "teacher_forwards", "store_hits",
"seconds"}. An estimate is the same with null for the teacher's metrics. The test part is never
opened.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import torch

from stillhouse.spec import ResolvedJob
from worker.engine import device, material, objective, recipe, teacher, trial
from worker.engine.stop import Say
from worker.engine.trial import Bench, Pulse
from worker.protocol import Assignment


def make(assignment: Assignment, *, say: Say) -> tuple[dict[str, Any], list[tuple[str, Path]]]:
    """Check and measure.

    What doesn't fit is refused as `InputRejected`, by the codes of `material.take`,
    `objective.check`, `networks.build`, `teacher.load` and `trial.of_student`.

    Args:
        assignment: Of kind "prepare" or "estimate".
        say: Takes progress; raises to stop.

    Returns:
        The result, and no files.
    """
    began = time.perf_counter()
    spec = ResolvedJob.model_validate(assignment["spec"])
    chosen = recipe.of_job(spec)
    bench = Bench(
        recipe=chosen,
        parts=material.take(assignment["dataset"], recipe=chosen),
        classes=len(assignment["dataset"]["classes"]),
        device=torch.device(assignment["device"]),
        files=assignment["files"],
        pulse=_pulse(say, steps=len(spec.students) + len(assignment["teachers"])),
    )
    objective.check(spec.objective, classes=bench.classes)
    students = _measure_students(bench, spec)
    teachers, forwards = _measure_teachers(bench, assignment)
    result = {
        "students": students,
        "teachers": teachers,
        "teacher_forwards": forwards,
        "store_hits": 0,
        "precision": device.settle(chosen.precision, device=bench.device),
        "seconds": time.perf_counter() - began,
    }
    return result, []


def _measure_students(bench: Bench, spec: ResolvedJob) -> dict[str, Any]:
    measured: dict[str, Any] = {}
    for place, student in enumerate(spec.students):
        measured[student.name] = trial.of_student(bench, student, field=f"students.{place}")
        bench.pulse(1)
    return measured


def _measure_teachers(bench: Bench, assignment: Assignment) -> tuple[dict[str, Any], int]:
    measured: dict[str, Any] = {}
    forwards = 0
    for place, files in enumerate(assignment["teachers"]):
        loaded = teacher.load(
            files,
            classes=bench.classes,
            device=bench.device,
            inputs=bench.files,
            field=f"teachers.{place}",
        )
        figures, items = (
            trial.of_teacher(bench, loaded)
            if assignment["kind"] == "prepare"
            else trial.of_teacher_speed(bench, loaded)
        )
        measured[files["id"]] = figures
        forwards += items
        bench.pulse(1)
    return measured, forwards


def _pulse(say: Say, *, steps: int) -> Pulse:
    done = 0

    def pulse(finished: int) -> None:
        nonlocal done
        done += finished
        say({"type": "progress", "step": done, "steps": steps, "epoch": 0})

    return pulse
