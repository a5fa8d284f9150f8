"""Which of a teacher's outputs is which of a dataset's classes."""

from __future__ import annotations

from collections.abc import Mapping

from core.tables import Dataset, Teacher
from stillhouse.errors import ClassesDiffer, InputRejected

_NAMED = 5


def class_order(
    teacher: Teacher,
    dataset: Dataset,
    class_map: Mapping[str, str] | None = None,
    *,
    field: str = "teachers.0",
) -> list[int] | None:
    """Which of the teacher's outputs is each class of the dataset.

    A map that names what isn't there is refused as `InputRejected` (`class_map_invalid`).

    Args:
        teacher: A ready teacher.
        dataset: A ready dataset.
        class_map: The dataset's class -> the teacher's, where their names differ. With one, the
            teacher may have more classes than the dataset.
        field: Where the teacher stands in the spec.

    Returns:
        An output for each class; None: the same order.

    Raises:
        ClassesDiffer: They can't be aligned.
    """
    theirs, ours = teacher.classes, dataset.classes or []
    if class_map:
        return _mapped(theirs, ours, class_map, field=f"{field}.class_map")
    if theirs is None or dataset.facts.get("classes_unnamed"):
        count = teacher.class_count if theirs is None else len(theirs)
        if count != len(ours):
            raise ClassesDiffer(
                f"The teacher has {count} classes, the dataset {len(ours)}; "
                "take the teacher that was trained for these classes.",
                field=f"{field}.id",
            )
        return None
    if set(theirs) != set(ours):
        raise ClassesDiffer(
            "Teacher and dataset name different classes (for example "
            f"{_some(set(theirs) ^ set(ours))}); name them alike on both sides, or say which is "
            "which in 'class_map'.",
            field=f"{field}.id",
        )
    return _order([theirs.index(name) for name in ours], outputs=len(theirs))


def warnings(
    teacher: Teacher, dataset: Dataset, class_map: Mapping[str, str] | None = None
) -> list[dict[str, str]]:
    """What a report must say about how classes were matched."""
    if class_map:
        return []
    if teacher.classes is None or dataset.facts.get("classes_unnamed"):
        side = "the teacher" if teacher.classes is None else "the dataset"
        message = f"The classes of {side} have no names; they were matched by position."
        return [{"code": "classes_by_position", "message": message}]
    return []


def _mapped(
    theirs: list[str] | None, ours: list[str], class_map: Mapping[str, str], *, field: str
) -> list[int] | None:
    if theirs is None:
        raise InputRejected(
            "class_map_invalid",
            "The teacher's classes have no names that a map could name; take the teacher in again "
            "with 'classes'.",
            field=field,
        )
    for side, known, named in (
        ("dataset", ours, class_map.keys()),
        ("teacher", theirs, class_map.values()),
    ):
        unknown = set(named) - set(known)
        if unknown:
            raise InputRejected(
                "class_map_invalid",
                f"The {side} has no classes named {_some(unknown)}.",
                field=field,
                allowed=sorted(known)[:100],
            )
    missing = {name for name in ours if class_map.get(name, name) not in theirs}
    if missing:
        raise ClassesDiffer(
            f"The teacher has no class for {_some(missing)}; name one in 'class_map'.", field=field
        )
    return _order([theirs.index(class_map.get(name, name)) for name in ours], outputs=len(theirs))


def _order(order: list[int], *, outputs: int) -> list[int] | None:
    return None if order == list(range(outputs)) else order


def _some(names: set[str]) -> str:
    return ", ".join(sorted(map(str, names))[:_NAMED])
