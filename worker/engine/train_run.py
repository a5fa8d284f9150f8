"""The train run: one student, one arm, one seed, from its assignment to its files.

Its result is {"best_epoch", "epochs", "ended", "history", "validation", "stages",
"train_seconds", "items_per_second", "teacher_forwards", "store_hits", "parameters", "macs",
"parameter_ratio"}; its files are those of `student_folder`. `stages` tells of each network that
was trained {"name", "best_epoch", "epochs", "ended", "validation", "kept"}; all but the times
and counts are of the one that is served. `parameter_ratio` is {"lambda", "cosine"} where the
student was tied to its teacher's weights, else null.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from stillhouse.errors import RunFailed
from stillhouse.spec import ParameterRatio, ResolvedJob, TeacherInit
from worker.engine import (
    checkpoint,
    course,
    journey,
    meter,
    networks,
    objective,
    recipe,
    snapshot,
    stages,
    tie,
)
from worker.engine.checkpoint import Past, Saved
from worker.engine.journey import Run
from worker.engine.serving import onnx_export, student_folder
from worker.engine.stop import Say, Stopped
from worker.protocol import Assignment


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
    try:
        while not journey.follow(run):
            journey.enter_next(run)
    except Stopped:
        journey.save(run)
        raise
    return _finish(run)


def _begin(assignment: Assignment, *, say: Say) -> Run:
    spec = ResolvedJob.model_validate(assignment["spec"])
    place, student = next(
        (place, one) for place, one in enumerate(spec.students) if one.name == assignment["student"]
    )
    arm = assignment["arm"] or objective.NO_TEACHER
    base = stages.course_of(assignment, spec, student, seed=assignment["seed"] or 0, arm=arm)
    plan = stages.plan(spec, student, arm=arm, field=f"students.{place}")
    configuration = checkpoint.fingerprint(course.configuration(assignment, spec, student))
    saved = _open_checkpoint(assignment, configuration=configuration, say=say)
    past = saved.past if saved else Past()
    stage = plan[len(past.stages)]
    state, chosen = stages.begin(stage, base, files=assignment["files"], past=past)
    run = Run(
        assignment=assignment,
        say=say,
        student=student,
        plan=plan,
        base=base,
        past=past,
        state=state,
        course=chosen,
        meter=meter.make(steps=chosen.steps * len(plan)),
        configuration=configuration,
        saved_step=0,
        next_save=time.monotonic() + assignment["checkpoint_seconds"],
        earlier=saved.counters if saved else {},
    )
    if saved is not None:
        snapshot.restore(state, saved.snapshot)
        run.saved_step = run.step
        detail = f"Resumed at step {run.step} of {run.steps}."
        say({"type": "event", "level": "info", "code": "resumed", "detail": detail})
    return run


def _open_checkpoint(assignment: Assignment, *, configuration: str, say: Say) -> Saved | None:
    path = assignment["checkpoint"]
    if path is None:
        return None
    try:
        return checkpoint.load(Path(path), configuration=configuration)
    except RunFailed as error:
        # An older image or another device wrote it: what it holds would not give our bytes.
        detail = f"{error.detail} The run begins anew."
        say({"type": "event", "level": "warn", "code": error.failure, "detail": detail})
        return None


def _finish(run: Run) -> tuple[dict[str, Any], list[tuple[str, Path]]]:
    fed = recipe.fed(run.student)
    network = run.state.network
    network.load_state_dict(run.past.weights)
    folder = Path(run.assignment["work"]) / "student"
    written = student_folder.write(
        folder,
        network,
        spec=recipe.network(run.student),
        input=fed,
        classes=run.assignment["dataset"]["classes"],
        files=run.assignment["files"],
    )
    if run.assignment["spec"]["exports"]:
        written.append(onnx_export.write(folder, network, fed=fed))
    parameters, macs = networks.measure(network, fed)
    served = next(told for told in reversed(run.past.stages) if told["kept"])
    figures = {
        **{name: value for name, value in served.items() if name not in ("name", "kept")},
        "stages": [
            {name: value for name, value in told.items() if name != "history"}
            for told in run.past.stages
        ],
        "train_seconds": run.past.seconds,
        "items_per_second": run.past.items / max(run.past.seconds, 1e-9),
        "parameters": parameters,
        "macs": macs,
        "parameter_ratio": _relate(run),
        **run.counters(),
    }
    return figures, [(path.name, path) for path in written]


def _relate(run: Run) -> dict[str, float | None] | None:
    """How a student that was tied to its teacher's weights relates to them now."""
    first = run.base.panel.inside if run.base.panel else None
    ties: list[ParameterRatio | TeacherInit] = [
        term for term in run.course.terms if isinstance(term, ParameterRatio)
    ]
    if isinstance(run.student.init, TeacherInit):
        ties.append(run.student.init)
    if first is None or not ties:
        return None
    return tie.measure(
        run.state.network,
        first,
        fed=recipe.fed(run.student),
        layers=ties[0].layers,
        exclude=ties[0].exclude,
    )
