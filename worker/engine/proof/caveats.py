"""What a reader must know before believing a report: its warnings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from worker.engine.proof.arms import Arm
from worker.protocol import Assignment, TeacherFiles

Warnings = list[dict[str, str]]


@dataclass(frozen=True, slots=True)
class Standing:
    """What the teachers' own training lets a verdict claim."""

    doubts: tuple[str, ...]
    """What makes every verdict provisional."""
    condition: str
    """What every verdict rests on; empty when on nothing."""
    warnings: Warnings


def of_teachers(teachers: list[TeacherFiles], *, dataset: str) -> Standing:
    """Judge what the teachers have seen of a dataset, by its id."""
    seen = {teacher["id"]: _seen(teacher["trained_on"], dataset=dataset) for teacher in teachers}
    warnings: Warnings = []
    for teacher, parts in seen.items():
        warnings += _teacher_warnings(teacher, parts)
    saw_test = any(parts is not None and "test" in parts for parts in seen.values())
    doubts = ("The teacher was trained on the test part.",) if saw_test else ()
    unknown = any(parts is None for parts in seen.values())
    condition = "It holds only if the teacher has not seen the test part." if unknown else ""
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
    if assignment["teachers"] and not comparisons:
        warnings.append(_NOT_COMPARED)
    if any(comparison["provisional"] for comparison in comparisons):
        warnings.append(_PROVISIONAL)
    lost = sum(len(arm.missing) for arm in arms)
    if lost:
        message = f"{lost} training run(s) failed; their seeds are listed under 'missing'."
        warnings.append({"code": "runs_missing", "message": message})
    if copies:
        message = f"{copies} test rows repeat another's image; copies count as one in intervals."
        warnings.append({"code": "duplicates_in_test", "message": message})
    count = opened(assignment)
    if count:
        warnings.append({"code": "test_part_opened", "message": opened_before(count)})
    return warnings


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


_NOT_COMPARED = {
    "code": "not_compared",
    "message": "No student has a control with a common seed and test rows, so nothing can be "
    "said about what the teacher was worth; keep 'no_teacher' among the controls.",
}
_PROVISIONAL = {
    "code": "provisional",
    "message": "Verdicts are provisional: fewer than three seeds, or a teacher that saw the "
    "test part. Take at least three seeds for a firm one.",
}


def _seen(trained_on: Any, *, dataset: str) -> frozenset[str] | None:
    """The parts of this dataset that a teacher saw; None when nobody knows."""
    if trained_on == "disjoint":
        return frozenset()
    if isinstance(trained_on, dict):
        return frozenset(trained_on["parts"] if trained_on["dataset"] == dataset else ())
    return None


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
