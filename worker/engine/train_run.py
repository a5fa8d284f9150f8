"""The train run: one student, one arm, one seed, from its assignment to its files.

Its result is {"best_epoch", "epochs", "history", "validation", "train_seconds",
"items_per_second", "teacher_forwards", "store_hits", "parameters", "macs"}; its files are those
of `student_folder`.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from stillhouse.errors import RunFailed
from stillhouse.spec import ResolvedJob, StudentSpec
from worker.engine import checkpoint, course, meter, networks, recipe, train, trial
from worker.engine import state as states
from worker.engine.course import Course
from worker.engine.meter import Meter
from worker.engine.objective import Objective
from worker.engine.serving import student_folder
from worker.engine.state import Epoch, State
from worker.engine.stop import Say, Stopped
from worker.engine.train import Result, Step
from worker.protocol import Assignment

log = logging.getLogger(__name__)

_CHECKPOINT_SHARE = 0.03
"""The most of a run's time that may go into checkpoints."""


@dataclass(slots=True)
class _Run:
    assignment: Assignment
    say: Say
    student: StudentSpec
    state: State
    course: Course
    steps: int
    meter: Meter
    configuration: str
    saved_step: int
    next_save: float
    """On the monotonic clock, in seconds."""
    earlier: dict[str, int]
    """The teacher's counters before this process."""

    def counters(self) -> dict[str, int]:
        """What the teacher was asked in all of the run's attempts that left a checkpoint."""
        outputs = self.course.teacher
        return {
            "teacher_forwards": self.earlier.get("teacher_forwards", 0)
            + (outputs.forwards if outputs else 0),
            "store_hits": self.earlier.get("store_hits", 0) + (outputs.hits if outputs else 0),
        }


def make(assignment: Assignment, *, say: Say) -> tuple[dict[str, Any], list[tuple[str, Path]]]:
    """Train a student, from a checkpoint if the assignment names one.

    Args:
        assignment: Of kind "train".
        say: Takes progress, metrics, events and checkpoints; raises `Stopped` on progress.

    Returns:
        The result, and the files: listed name, place.

    Raises:
        Stopped: Once a checkpoint of where the run stands was said.
    """
    run = _begin(assignment, say=say)
    _resume(run)
    try:
        result = _follow(run)
    except Stopped:
        _save(run)
        raise
    return _finish(run, result)


def _begin(assignment: Assignment, *, say: Say) -> _Run:
    spec = ResolvedJob.model_validate(assignment["spec"])
    place, student = next(
        (place, one) for place, one in enumerate(spec.students) if one.name == assignment["student"]
    )
    seed = assignment["seed"] or 0
    network = trial.build(
        student,
        seed=seed,
        classes=len(assignment["dataset"]["classes"]),
        device=torch.device(assignment["device"]),
        field=f"students.{place}",
    )
    chosen = course.of_run(assignment, spec, student, seed=seed)
    return _Run(
        assignment=assignment,
        say=say,
        student=student,
        state=states.begin(
            network, Objective(chosen.terms).to(chosen.source.device), recipe=chosen.recipe
        ),
        course=chosen,
        steps=chosen.steps,
        meter=meter.make(steps=chosen.steps),
        configuration=checkpoint.fingerprint(course.configuration(assignment, spec, student)),
        saved_step=0,
        next_save=time.monotonic() + assignment["checkpoint_seconds"],
        earlier={},
    )


def _resume(run: _Run) -> None:
    path = run.assignment["checkpoint"]
    if path is None:
        return
    try:
        run.earlier = checkpoint.load(Path(path), run.state, configuration=run.configuration)
    except RunFailed as error:
        # An older image or another device wrote it: what it holds would not give our bytes.
        detail = f"{error.detail} The run begins anew."
        run.say({"type": "event", "level": "warn", "code": error.failure, "detail": detail})
        return
    run.saved_step = run.state.step
    detail = f"Resumed at step {run.state.step} of {run.steps}."
    run.say({"type": "event", "level": "info", "code": "resumed", "detail": detail})


def _follow(run: _Run) -> Result:
    """Go through the training's events until the result."""
    _tell_progress(run)
    for event in train.distill(run.state, course=run.course, pulse=lambda: _tell_progress(run)):
        match event:
            case Step():
                _take_step(run, event)
            case Epoch():
                _take_epoch(run, event)
            case Result():
                return event
    raise RuntimeError("the training ended without a result")


def _take_step(run: _Run, step: Step) -> None:
    run.meter.add(step)
    if run.meter.is_due:
        run.say({"type": "metrics", "points": run.meter.read(step.step)})
    if time.monotonic() >= run.next_save:
        _save(run)
    _tell_progress(run)


def _take_epoch(run: _Run, epoch: Epoch) -> None:
    points = run.meter.read(epoch.step) + meter.epoch_points(epoch, metric=run.course.recipe.metric)
    run.say({"type": "metrics", "points": points})
    metric = run.course.recipe.metric
    log.info(
        "epoch %d of %d, step %d: train accuracy %.4f, validation %s %.4f",
        epoch.epoch + 1,
        run.course.recipe.epochs,
        epoch.step,
        epoch.train_accuracy,
        metric,
        epoch.validation[metric],
    )
    run.meter.restart()  # The time that validation took is not the next steps'.
    _tell_progress(run)


def _tell_progress(run: _Run) -> None:
    run.say(
        {
            "type": "progress",
            "step": run.state.step,
            "steps": run.steps,
            "epoch": min(run.state.epoch, run.course.recipe.epochs - 1),
        }
    )


def _save(run: _Run) -> None:
    if run.state.step == run.saved_step:
        return
    began = time.monotonic()
    states.check_finite(run.state)
    path = Path(run.assignment["work"]) / f"checkpoint-{run.state.step}.safetensors"
    file = checkpoint.save(
        path, run.state, configuration=run.configuration, counters=run.counters()
    )
    run.saved_step = run.state.step
    run.say({"type": "checkpoint", "step": run.state.step, "epoch": run.state.epoch, "file": file})
    now = time.monotonic()
    run.next_save = now + max(
        run.assignment["checkpoint_seconds"], (now - began) / _CHECKPOINT_SHARE
    )


def _finish(run: _Run, result: Result) -> tuple[dict[str, Any], list[tuple[str, Path]]]:
    fed = recipe.fed(run.student)
    run.state.network.load_state_dict(result.weights)
    written = student_folder.write(
        Path(run.assignment["work"]) / "student",
        run.state.network,
        spec=recipe.network(run.student),
        input=fed,
        classes=run.assignment["dataset"]["classes"],
    )
    parameters, macs = networks.measure(run.state.network, fed)
    figures = {
        "best_epoch": result.best.epoch,
        "epochs": len(result.history),
        "history": [dataclasses.asdict(epoch) for epoch in result.history],
        "validation": result.best.validation,
        "train_seconds": result.train_seconds,
        "items_per_second": result.items_per_second,
        "parameters": parameters,
        "macs": macs,
        **run.counters(),
    }
    return figures, [(path.name, path) for path in written]
