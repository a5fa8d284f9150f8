from __future__ import annotations

from typing import Any, cast

import pytest

from worker.engine.proof import naming
from worker.protocol import Assignment


def _named(context: dict[str, Any]) -> dict[str, str]:
    teachers = [{"id": "tch_1"}, {"id": "tch_2"}]
    return naming.of_teachers(cast("Assignment", {"teachers": teachers, "context": context}))


def test_a_teacher_is_called_by_its_name_beside_its_id() -> None:
    found = _named({"teacher_names": ["digits-resnet", "large one"]})
    assert found == {"tch_1": "'digits-resnet' (tch_1)", "tch_2": "'large one' (tch_2)"}


@pytest.mark.parametrize("context", [{}, {"teacher_names": [None, None]}])
def test_a_teacher_without_a_name_is_called_by_its_id(context: dict[str, Any]) -> None:
    assert _named(context) == {"tch_1": "tch_1", "tch_2": "tch_2"}
