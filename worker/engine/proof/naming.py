"""What sentences call things: by the name that a user gave, and the id that finds them."""

from __future__ import annotations

from worker.protocol import Assignment


def of_teachers(assignment: Assignment) -> dict[str, str]:
    """Teacher id -> `'digits-resnet' (tch_…)`, or the id alone for one without a name."""
    ids = [teacher["id"] for teacher in assignment["teachers"]]
    names = assignment["context"].get("teacher_names") or [None] * len(ids)
    return {key: f"'{name}' ({key})" if name else key for key, name in zip(ids, names, strict=True)}
