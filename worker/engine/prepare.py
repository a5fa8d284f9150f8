"""The prepare run: whether everything fits, before anything is spent, and what it will cost.

Its result is {"students": {name: {network, parameters, macs, bytes, step_seconds}}, "networks":
{variant or "": {student: network}}, "teachers": {id: {parameters, macs, item_seconds, train,
validation}}, "teacher_forwards", "store_hits", "precision", "warnings": [{code, message}],
"seconds"}. `networks` has those that `shrink` made; a teacher that is known by its outputs has
null for what a network costs. An estimate is the same with null for the metrics of teachers that
would have to be run. The test part is never opened.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from stillhouse.spec import ResolvedJob
from worker.engine import course, device, fitting, material, objective, panel, recipe, trial
from worker.engine.fitting import Fitting, Warnings
from worker.engine.recorded import Recorded
from worker.engine.stop import Say
from worker.engine.trial import Bench, Pulse
from worker.protocol import Assignment


def make(assignment: Assignment, *, say: Say) -> tuple[dict[str, Any], list[tuple[str, Path]]]:
    """Check and measure.

    What doesn't fit is refused as `InputRejected`, by the codes of `material.take`,
    `objective.check`, `panel.load`, `Fitting.check`, `trial.of_student` and
    `fitting.check_expectations`.

    Args:
        assignment: Of kind "prepare" or "estimate".
        say: Takes progress; raises to stop.

    Returns:
        The result, and no files.
    """
    began = time.perf_counter()
    variants = list(_variants(assignment))
    _, spec = variants[0]
    chosen = recipe.of_job(spec)
    bench = Bench(
        recipe=chosen,
        parts=material.take(assignment["dataset"], recipe=chosen),
        classes=len(assignment["dataset"]["classes"]),
        device=torch.device(assignment["device"]),
        files=assignment["files"],
        pulse=_pulse(say, steps=len(variants) * len(spec.students) + len(assignment["teachers"])),
    )
    for _, one in variants:
        objective.check(one.objective, classes=bench.classes)
    asked = panel.load(assignment, spec, device=bench.device)
    teachers = {one.id: one for one in asked.teachers} if asked else {}
    fits = Fitting(teachers, course.transfer_parts(assignment["transfer"]))
    students, networks, warnings = _try_students(bench, assignment, fits, variants)
    measured, forwards = _measure_teachers(bench, assignment, fits)
    if assignment["kind"] == "prepare":
        reached = {name: figures["validation"]["accuracy"] for name, figures in measured.items()}
        fitting.check_expectations(spec, reached)
    result = {
        "students": students,
        "networks": networks,
        "teachers": measured,
        "teacher_forwards": forwards,
        "store_hits": 0,
        "precision": device.settle(chosen.precision, device=bench.device),
        "warnings": warnings,
        "seconds": time.perf_counter() - began,
    }
    return result, []


def _variants(assignment: Assignment) -> Iterator[tuple[str, ResolvedJob]]:
    """Every variant of the job, or the job itself without a name."""
    for variant in assignment["variants"]:
        yield variant["name"] or "", ResolvedJob.model_validate(variant["spec"])
    if not assignment["variants"]:
        yield "", ResolvedJob.model_validate(assignment["spec"])


def _try_students(
    bench: Bench,
    assignment: Assignment,
    fits: Fitting,
    variants: list[tuple[str, ResolvedJob]],
) -> tuple[dict[str, Any], dict[str, dict[str, Any]], Warnings]:
    """What each student costs, by the first variant; the networks that `shrink` made; warnings."""
    measured: dict[str, Any] = {}
    made: dict[str, dict[str, Any]] = {}
    found: dict[str, dict[str, str]] = {}
    tried: set[str] = set()
    for name, spec in variants:
        chosen = recipe.of_job(spec)
        here = replace(
            bench, recipe=chosen, parts=material.take(assignment["dataset"], recipe=chosen)
        )
        for place, given in enumerate(spec.students):
            student = fits.resolve(here, spec, given, place=place)
            network = recipe.network(student).model_dump(mode="json")
            if given.shrink is not None:
                made.setdefault(name, {})[student.name] = network
            for warning in fits.check(here, spec, student, place=place):
                found.setdefault(warning["message"], warning)
            key = f"{network} {student.input}"
            if key not in tried:
                figures = trial.of_student(here, student, field=f"students.{place}")
                measured.setdefault(student.name, {"network": network} | figures)
                tried.add(key)
            bench.pulse(1)
    return measured, made, list(found.values())


def _measure_teachers(
    bench: Bench, assignment: Assignment, fits: Fitting
) -> tuple[dict[str, Any], int]:
    measured: dict[str, Any] = {}
    forwards = 0
    for name, one in fits.teachers.items():
        if isinstance(one, Recorded):
            measured[name] = trial.of_recorded(bench, one)
        else:
            is_prepared = assignment["kind"] == "prepare"
            of = trial.of_teacher if is_prepared else trial.of_teacher_speed
            measured[name], items = of(bench, one)
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
