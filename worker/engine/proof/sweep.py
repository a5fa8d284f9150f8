"""A sweep in the report: each variant against its own control, and a curve for what was varied."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from stillhouse.spec import MINIMISED, ResolvedJob
from stillhouse.spec.planned import essence_of
from worker.engine.proof.arms import DISTILLED, Arm, spread
from worker.engine.proof.ranking import metric_of
from worker.protocol import Assignment, TrainedStudent

Specs = Mapping[str | None, ResolvedJob]


def specs_of(assignment: Assignment) -> Specs:
    """The resolved spec of each variant; under None the first one's, for runs that all share."""
    given = assignment["variants"]
    if not given:
        return {None: ResolvedJob.model_validate(assignment["spec"])}
    found = {one["name"]: ResolvedJob.model_validate(one["spec"]) for one in given}
    return {None: found[given[0]["name"]], **found}


def pairs(arms: Sequence[Arm], specs: Specs) -> list[tuple[Arm, Arm]]:
    """Every distilled arm with each of its controls.

    A control is the same student's whose spec comes to the same without the teacher: that of the
    same variant, or one that several variants share.

    Args:
        arms: All arms of the job.
        specs: By variant.

    Returns:
        Distilled arm and control, in the order of the arms.
    """
    found: list[tuple[Arm, Arm]] = []
    for treated in (arm for arm in arms if arm.arm == DISTILLED):
        controls: dict[str, Arm] = {}
        for control in arms:
            if control.arm == DISTILLED or control.student != treated.student:
                continue
            wanted, given = specs[treated.variant], specs[control.variant]
            is_same = _essence(control, wanted) == _essence(control, given)
            is_nearer = control.arm not in controls or control.variant == treated.variant
            if is_same and is_nearer:
                controls[control.arm] = control
        found += [(treated, control) for control in controls.values()]
    return found


def table(
    assignment: Assignment, arms: Sequence[Arm], specs: Specs, *, select: str
) -> dict[str, Any] | None:
    """What a sweep found.

    Args:
        assignment: The report run; its context holds the sweep.
        arms: All arms of the job.
        specs: By variant.
        select: `validation_<metric>`, which alone selects; the test part has no say.

    Returns:
        {kind, parameters, variants: [{name, changes, selected}], curves: [{pointer, points}]},
        each point {student, variant, value, validation, test, parameters, parameter_ratio}: the
        metric's and the ratio's mean and deviation over the seeds; None without a sweep.
    """
    sweep = assignment["context"].get("sweep")
    if sweep is None:
        return None
    changes = {one["name"]: one["changes"] for one in assignment["variants"]}
    swept = [arm for arm in arms if arm.arm == specs[None].arms[0] and arm.variant is not None]
    chosen = _selected(swept, metric=metric_of(select))
    ties = {one["id"]: one for one in assignment["students"]}
    return {
        "kind": sweep["kind"],
        "parameters": sweep["parameters"],
        "variants": [
            {"name": name, "changes": given, "selected": name == chosen}
            for name, given in changes.items()
        ],
        "curves": [
            {
                "pointer": pointer,
                "points": [
                    _point(arm, _value(changes, arm, pointer), ties, metric=metric_of(select))
                    for arm in sorted(swept, key=lambda arm: _order(changes, arm, pointer))
                ],
            }
            for pointer in sweep["parameters"]
        ],
    }


def _essence(control: Arm, spec: ResolvedJob) -> tuple[str, ...]:
    student = next(one for one in spec.students if one.name == control.student)
    return essence_of(spec, student, control.arm)


def _selected(swept: Sequence[Arm], *, metric: str) -> str | None:
    """The variant with the best mean on validation; of equals the smaller, then the earlier."""
    sign = 1 if metric in MINIMISED else -1
    ranked = [
        (sign * found["mean"], arm.trained[0].parameters, place, arm.variant)
        for place, arm in enumerate(swept)
        if (found := _figure(arm, "validation", metric=metric)) is not None
    ]
    return min(ranked)[3] if ranked else None


def _point(
    arm: Arm, value: Any, trained: Mapping[str, TrainedStudent], *, metric: str
) -> dict[str, Any]:
    ties = [trained[one.id]["result"].get("parameter_ratio") for one in arm.trained]
    known = [tie for tie in ties if tie is not None]
    return {
        "student": arm.student,
        "variant": arm.variant,
        "value": value,
        "validation": _figure(arm, "validation", metric=metric),
        "test": _figure(arm, "test", metric=metric),
        "parameters": arm.trained[0].parameters if arm.trained else None,
        "parameter_ratio": {
            name: spread([tie[name] for tie in known]) for name in ("lambda", "cosine")
        }
        if known
        else None,
    }


def _figure(arm: Arm, part: str, *, metric: str) -> dict[str, Any] | None:
    return spread([one.figures[part].get(metric) for one in arm.trained])


def _value(changes: Mapping[str | None, dict[str, Any]], arm: Arm, pointer: str) -> Any:
    return changes[arm.variant][pointer]


def _order(
    changes: Mapping[str | None, dict[str, Any]], arm: Arm, pointer: str
) -> tuple[str, float]:
    """Numbers ascend, for each student; all else stays in the order of the variants."""
    value = _value(changes, arm, pointer)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return arm.student, float(value) if is_number else 0.0
