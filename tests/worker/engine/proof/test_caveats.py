from __future__ import annotations

from typing import Any

import pytest

from worker.engine.proof import caveats
from worker.protocol import TeacherFiles

HERE, ELSEWHERE = "ds_here", "ds_elsewhere"


def _teacher(trained_on: Any) -> TeacherFiles:
    return {
        "id": "tch_1", "network": {}, "input": {}, "classes": None, "class_order": None,
        "trained_on": trained_on, "weights": "", "bytes": 0,
    }  # fmt: skip


def _seen(*parts: str, dataset: str = HERE) -> dict[str, Any]:
    return {"dataset": dataset, "parts": list(parts)}


CASES = [
    ("unknown", ["teacher_trained_on_unknown"], False, True),
    ("disjoint", [], False, False),
    (_seen("train"), [], False, False),
    (_seen("train", "validation"), ["teacher_saw_validation"], False, False),
    (_seen("train", "test"), ["teacher_saw_test"], True, False),
    (_seen("train", "test", dataset=ELSEWHERE), [], False, False),
]


@pytest.mark.parametrize(("trained_on", "codes", "doubted", "conditional"), CASES)
def test_what_a_teacher_saw_decides_what_a_verdict_may_say(
    trained_on: Any, codes: list[str], *, doubted: bool, conditional: bool
) -> None:
    standing = caveats.of_teachers([_teacher(trained_on)], dataset=HERE)
    assert [warning["code"] for warning in standing.warnings] == codes
    assert bool(standing.doubts) is doubted
    assert bool(standing.condition) is conditional


@pytest.mark.parametrize(
    ("trained_on", "meaningful"),
    [("unknown", False), (_seen("train", "validation"), True), (_seen("train", "test"), False)],
)
def test_a_gap_means_something_when_the_test_part_was_not_seen(
    trained_on: Any, *, meaningful: bool
) -> None:
    assert caveats.is_gap_meaningful(_teacher(trained_on), dataset=HERE) is meaningful


def test_how_often_the_test_part_was_read_is_a_sentence() -> None:
    assert caveats.opened_before(0).startswith("No job")
    assert "1 other job before" in caveats.opened_before(1)
    assert "12 other jobs before" in caveats.opened_before(12)
