"""A train run's way through its stages: what it tells, and when it saves itself."""

from __future__ import annotations

import dataclasses
import logging
import time
from dataclasses import dataclass
from pathlib import Path

from stillhouse.spec import StudentSpec
from worker.engine import checkpoint, choice, meter, snapshot, stages, train
from worker.engine import state as states
from worker.engine.checkpoint import Past, Saved
from worker.engine.course import Course
from worker.engine.meter import Meter
from worker.engine.stages import Stage
from worker.engine.state import Epoch, NotFiniteError, State
from worker.engine.stop import Say
from worker.engine.train import Notice, Result, Step
from worker.protocol import Assignment

log = logging.getLogger(__name__)

_CHECKPOINT_SHARE = 0.03
"""The most of a run's time that may go into checkpoints."""


@dataclass(slots=True)
class Run:
    """A train run at work."""

    assignment: Assignment
    say: Say
    student: StudentSpec
    plan: tuple[Stage, ...]
    base: Course
    """Under the job's teachers."""
    past: Past
    state: State
    course: Course
    """Of the stage under way."""
    meter: Meter
    configuration: str
    saved_step: int
    next_save: float
    """On the monotonic clock, in seconds."""
    earlier: dict[str, int]
    """The teachers' counters before this process and this stage."""

    @property
    def stage(self) -> Stage:
        """The one under way."""
        return self.plan[len(self.past.stages)]

    @property
    def step(self) -> int:
        """Steps done in all stages."""
        return self.past.steps + self.state.step

    @property
    def steps(self) -> int:
        """Of the whole run, at most: a stage may end early, and a chain too."""
        return self.past.steps + self.course.steps * (len(self.plan) - len(self.past.stages))

    def counters(self) -> dict[str, int]:
        """What the teachers were asked in all of the run's attempts that left a checkpoint."""
        outputs = self.course.teacher
        return {
            "teacher_forwards": self.earlier.get("teacher_forwards", 0)
            + (outputs.forwards if outputs else 0),
            "store_hits": self.earlier.get("store_hits", 0) + (outputs.hits if outputs else 0),
        }


def follow(run: Run) -> bool:
    """Go through a stage to its end. Returns whether it was the last one.

    `run.say` may raise `Stopped`; the run can be saved then, and goes on from there.
    """
    _tell_progress(run)
    for event in train.distill(run.state, course=run.course, pulse=lambda: _tell_progress(run)):
        match event:
            case Step():
                _take_step(run, event)
            case Epoch():
                _take_epoch(run, event)
            case Notice():
                _take_notice(run, event)
            case Result():
                return _take_result(run, event)
    raise RuntimeError("the training ended without a result")


def _take_step(run: Run, step: Step) -> None:
    run.meter.add(step)
    if run.meter.is_due:
        _tell_points(run)
    if time.monotonic() >= run.next_save:
        save(run)
    _tell_progress(run)


def _take_epoch(run: Run, epoch: Epoch) -> None:
    metric = run.course.recipe.metric
    _tell_points(run, *meter.epoch_points(epoch, step=run.step, metric=metric))
    log.info(
        "%s: epoch %d of %d, step %d: train accuracy %.4f, validation %s %.4f",
        run.stage.name,
        epoch.epoch + 1,
        run.course.recipe.epochs,
        run.step,
        epoch.train_accuracy,
        metric,
        epoch.validation[metric],
    )
    run.meter.restart()  # The time that validation took is not the next steps'.
    _tell_progress(run)


def _tell_points(run: Run, *more: meter.Point) -> None:
    points = run.meter.read(run.step)
    run.state.is_suspect |= not run.meter.is_finite
    run.say({"type": "metrics", "points": [*points, *more]})


def _take_notice(run: Run, notice: Notice) -> None:
    run.say({"type": "event", "level": "warn", "code": notice.code, "detail": notice.detail})
    if notice.code == "rolled_back":
        run.meter.restart()
        run.saved_step = -1  # What was saved there knows nothing of the lower rate.


def _take_result(run: Run, result: Result) -> bool:
    """Take a stage's end in. Returns whether it was the last one."""
    kept = not run.stage.must_improve or choice.is_better(
        result.best.validation[run.course.recipe.metric],
        run.past.stages[-1]["validation"][run.course.recipe.metric],
        metric=run.course.recipe.metric,
    )
    told = {
        "name": run.stage.name,
        "best_epoch": result.best.epoch,
        "epochs": len(result.history),
        "ended": result.ended,
        "validation": result.best.validation,
        "kept": kept,
        "history": [dataclasses.asdict(epoch) for epoch in result.history],
    }
    is_last = len(run.past.stages) + 1 == len(run.plan) or not kept
    if is_last:
        # Before anything changes: it may stop the run, which then ends this stage once more.
        _tell_progress(run, steps=run.step)
    run.past = Past(
        stages=(*run.past.stages, told),
        steps=run.step,
        seconds=run.past.seconds + result.train_seconds,
        items=run.past.items + len(run.course.source) * len(result.history),
        weights=result.weights if kept else run.past.weights,
    )
    return is_last


def enter_next(run: Run) -> None:
    """Begin the next stage, taught by what the last one left."""
    run.earlier = run.counters()
    run.state, run.course = stages.begin(
        run.stage, run.base, files=run.assignment["files"], past=run.past
    )
    detail = f"Stage '{run.stage.name}' begins at step {run.step}."
    run.say({"type": "event", "level": "info", "code": "stage_begun", "detail": detail})
    run.meter.restart()


def _tell_progress(run: Run, *, steps: int | None = None) -> None:
    run.say(
        {
            "type": "progress",
            "step": run.step,
            "steps": run.steps if steps is None else steps,
            "epoch": min(run.state.epoch, run.course.recipe.epochs - 1),
        }
    )


def save(run: Run) -> None:
    """Write a checkpoint, unless one was written at this step, or what stands here isn't finite."""
    if run.step == run.saved_step:
        return
    began = time.monotonic()
    try:
        states.check_finite(run.state)
    except NotFiniteError:
        run.state.is_suspect = True  # The older checkpoint stays, and the run goes back.
        return
    taken = run.state.good = snapshot.take(run.state)
    file = checkpoint.save(
        Path(run.assignment["work"]) / f"checkpoint-{run.step}-{run.state.rollbacks}.safetensors",
        Saved(taken, run.past, run.counters()),
        configuration=run.configuration,
    )
    run.saved_step = run.step
    run.say({"type": "checkpoint", "step": run.step, "epoch": run.state.epoch, "file": file})
    now = time.monotonic()
    run.next_save = now + max(
        run.assignment["checkpoint_seconds"], (now - began) / _CHECKPOINT_SHARE
    )
