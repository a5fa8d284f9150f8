"""What a reader must know before believing a report: its warnings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from worker.engine.objective import NO_TEACHER
from worker.engine.proof import ranking
from worker.engine.proof.arms import DISTILLED, Arm, Trained
from worker.protocol import Assignment, TeacherFiles, TrainedStudent

Warnings = list[dict[str, str]]

SETTLED_STEPS = 100
"""Batch normalisation keeps 0.9 of its running statistics a step: 0.9^100 leaves no start."""


@dataclass(frozen=True, slots=True)
class Standing:
    """What the teachers' own training lets a verdict claim."""

    doubts: tuple[str, ...]
    """What makes every verdict provisional."""
    condition: str
    """What every verdict rests on; empty when on nothing."""
    warnings: Warnings


def of_teachers(
    teachers: list[TeacherFiles], *, dataset: str, names: Mapping[str, str]
) -> Standing:
    """Judge what the teachers have seen of a dataset.

    Args:
        teachers: Of the job.
        dataset: Its id.
        names: Teacher id -> what sentences call it.

    Returns:
        What may be claimed.
    """
    seen = {teacher["id"]: _seen(teacher["trained_on"], dataset=dataset) for teacher in teachers}
    warnings: Warnings = []
    for teacher, parts in seen.items():
        warnings += _teacher_warnings(names[teacher], parts)
    saw_test = any(parts is not None and "test" in parts for parts in seen.values())
    doubts = ("The teacher was trained on the test part.",) if saw_test else ()
    unknown = any(parts is None for parts in seen.values())
    condition = _IF_UNSEEN if unknown else ""
    return Standing(doubts, condition, warnings)


def is_gap_meaningful(teacher: TeacherFiles, *, dataset: str) -> bool:
    """Whether a teacher's gap from train to test says anything: it hasn't seen the test part."""
    seen = _seen(teacher["trained_on"], dataset=dataset)
    return seen is not None and "test" not in seen


def of_result(
    assignment: Assignment, arms: list[Arm], comparisons: list[dict[str, Any]], *, copies: int
) -> Warnings:
    """What the runs, the test part and the verdicts give reason to say.

    Args:
        assignment: The report run.
        arms: All arms of the job.
        comparisons: `result.comparisons`.
        copies: Test rows whose image another test row has too.

    Returns:
        {code, message} objects.
    """
    warnings: Warnings = list(assignment["context"].get("warnings", []))
    if assignment["job_kind"] == "distill" and not comparisons:
        warnings.append(_NOT_COMPARED)
    if any(comparison["provisional"] for comparison in comparisons):
        warnings.append(_PROVISIONAL)
    lost = sum(len(arm.missing) for arm in arms)
    if lost:
        warnings.append({"code": "runs_missing", "message": _lost(lost)})
    warnings += _of_lengths(assignment["students"])
    if extra_rows(assignment):
        warnings.append({"code": "transfer_rows", "message": of_transfer(assignment)})
    if copies:
        warnings.append({"code": "duplicates_in_test", "message": _repeated(copies)})
    count = opened(assignment)
    if count:
        warnings.append({"code": "test_part_opened", "message": opened_before(count)})
    return warnings


def of_ranking(trained: list[Trained], *, select: str) -> Warnings:
    """Say so when a student does better without the teacher than the best one with it.

    Args:
        trained: All students of the job.
        select: `validation_<metric>`.

    Returns:
        At most one {code, message}.
    """
    distilled = ranking.lead([one for one in trained if one.arm == DISTILLED], select=select)
    control = ranking.lead([one for one in trained if one.arm == NO_TEACHER], select=select)
    if distilled is None or control is None:
        return []
    if not ranking.is_ahead(control, distilled, select=select):
        return []
    metric = ranking.metric_of(select)
    theirs, ours = _apart(*(one.figures["validation"][metric] for one in (control, distilled)))
    message = (
        f"Without the teacher, {ranking.name(control)} does better on validation than the best "
        f"distilled student, {ranking.name(distilled)}: {metric.replace('_', ' ')} {theirs} "
        f"against {ours}. "
        "'best' is chosen among the distilled students alone."
    )
    return [{"code": "control_is_ahead", "message": message}]


def extra_rows(assignment: Assignment) -> int:
    """How many rows of transfer sets were trained on beside the dataset's."""
    return int(assignment["context"].get("transfer_rows") or 0)


def of_transfer(assignment: Assignment) -> str:
    """What the extra rows mean for a verdict, as a sentence; empty without any."""
    count = extra_rows(assignment)
    if not count:
        return ""
    rows = "1 row" if count == 1 else f"{count:,} rows"
    return (
        f"The distilled students also learned what the teacher says of {rows} of transfer sets, "
        "which teach the control nothing; it had as many steps."
    )


def of_leak(count: int) -> Warnings:
    """Say so when transfer sets hold test rows; `count` of them."""
    if not count:
        return []
    rows = "1 test row is" if count == 1 else f"{count} test rows are"
    message = f"{rows} in the transfer sets, too: the distilled students have seen them."
    return [{"code": "test_rows_in_transfer", "message": message}]


def opened(assignment: Assignment) -> int:
    """How many jobs read the test part before this report."""
    return int(assignment["context"].get("test_opened") or 0)


def opened_before(count: int) -> str:
    """How often the test part was read before this report, as a sentence."""
    if count == 0:
        return "No job has read the test part of this dataset before."
    jobs = "1 other job" if count == 1 else f"{count} other jobs"
    return (
        f"The test part of this dataset was read by {jobs} before; the more often it is read, "
        "the more its figures flatter."
    )


LEAKED = "The transfer sets hold test rows, which the distilled students have seen."
"""What makes every verdict provisional then."""

_IF_UNSEEN = "The verdict holds only if the teacher has not seen the test part."
_NOT_COMPARED = {
    "code": "not_compared",
    "message": "No student has a control with a common seed and test rows, so nothing can be "
    "said about what the teacher was worth; keep 'no_teacher' among the controls.",
}
_PROVISIONAL = {
    "code": "provisional",
    "message": "Some verdicts are provisional, and their sentences say why. A firm one takes three "
    "seeds or more, and a teacher that has not seen the test part.",
}


def _seen(trained_on: Any, *, dataset: str) -> frozenset[str] | None:
    """The parts of this dataset that a teacher saw; None when nobody knows."""
    if trained_on == "disjoint":
        return frozenset()
    if isinstance(trained_on, dict):
        return frozenset(trained_on["parts"] if trained_on["dataset"] == dataset else ())
    return None


def _lost(count: int) -> str:
    if count == 1:
        return "1 training run failed; its seed is listed under 'missing'."
    return f"{count} training runs failed; their seeds are listed under 'missing'."


def _repeated(count: int) -> str:
    rows = "1 test row repeats" if count == 1 else f"{count} test rows repeat"
    return f"{rows} another's image; copies count as one in intervals."


def _of_lengths(students: list[TrainedStudent]) -> Warnings:
    """Whether a training run was too short for its figures to mean much."""
    histories = [student["result"].get("history") for student in students]
    lengths = [int(history[-1]["step"]) for history in histories if history]
    shortest = min(lengths, default=SETTLED_STEPS)
    if shortest >= SETTLED_STEPS:
        return []
    steps = "1 optimizer step" if shortest == 1 else f"{shortest} optimizer steps"
    message = (
        f"The shortest training run took {steps} in all. Before {SETTLED_STEPS}, a network is "
        "hardly trained, and the running statistics of batch normalisation, where it has any, "
        "have not settled; take more epochs or a smaller batch_size."
    )
    return [{"code": "few_steps", "message": message}]


def _apart(one: float, other: float) -> tuple[str, str]:
    """Two unequal figures, with as many digits as it takes to see that they are."""
    texts = ((f"{one:.{digits}f}", f"{other:.{digits}f}") for digits in range(4, 17))
    return next((pair for pair in texts if pair[0] != pair[1]), (repr(one), repr(other)))


def _teacher_warnings(teacher: str, parts: frozenset[str] | None) -> Warnings:
    if parts is None:
        message = (
            f"What {teacher} was trained on is unknown: its gap and calibration can't be "
            "interpreted, and the verdicts hold only if it has not seen the test part."
        )
        return [{"code": "teacher_trained_on_unknown", "message": message}]
    warnings: Warnings = []
    for part in ("validation", "test"):
        if part in parts:
            message = f"{teacher} was trained on the {part} part; its figures there flatter it."
            warnings.append({"code": f"teacher_saw_{part}", "message": message})
    return warnings
