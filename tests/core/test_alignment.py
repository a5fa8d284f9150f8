from typing import Any

import pytest

from core import alignment
from core.tables import Dataset, Teacher
from stillhouse.errors import ClassesDiffer, InputRejected

OURS = ["Katze", "Hund", "Eule"]
MAP = {"Katze": "cat", "Hund": "dog", "Eule": "owl"}


def order(
    class_map: dict[str, str], *, theirs: Any = ("owl", "cat", "eel", "dog")
) -> list[int] | None:
    teacher = Teacher(classes=theirs and list(theirs), class_count=4)
    return alignment.class_order(teacher, Dataset(classes=OURS, facts={}), class_map)


def test_a_map_says_which_of_the_teachers_classes_is_meant() -> None:
    assert order(MAP) == [1, 3, 0]


def test_names_that_are_alike_need_no_entry() -> None:
    assert order({"Katze": "cat", "Hund": "dog"}, theirs=("Eule", "dog", "cat")) == [2, 1, 0]


def test_a_map_into_the_same_order_changes_nothing() -> None:
    assert order(MAP, theirs=("cat", "dog", "owl")) is None


def test_two_classes_may_be_one_to_the_teacher() -> None:
    assert order(MAP | {"Eule": "cat"}) == [1, 3, 1]


@pytest.mark.parametrize(
    ("class_map", "words"),
    [(MAP | {"Wal": "eel"}, "dataset has no classes named Wal"),
     (MAP | {"Eule": "emu"}, "teacher has no classes named emu")],
)  # fmt: skip
def test_a_map_of_what_is_not_there_is_refused(class_map: dict[str, str], words: str) -> None:
    with pytest.raises(InputRejected, match=words) as caught:
        order(class_map)
    assert (caught.value.rejected_code, caught.value.field) == (
        "class_map_invalid",
        "teachers.0.class_map",
    )


def test_a_map_needs_names_on_the_teachers_side() -> None:
    with pytest.raises(InputRejected, match="no names"):
        order(MAP, theirs=None)


def test_a_class_that_a_map_leaves_out_is_named() -> None:
    with pytest.raises(ClassesDiffer, match="Eule"):
        order({"Katze": "cat", "Hund": "dog"})


def test_a_map_leaves_nothing_to_warn_of() -> None:
    unnamed = Dataset(classes=["0", "1"], facts={"classes_unnamed": True})
    teacher = Teacher(classes=["a", "b"], class_count=2)
    assert alignment.warnings(teacher, unnamed) != []
    assert alignment.warnings(teacher, unnamed, {"0": "a", "1": "b"}) == []
    assert alignment.class_order(teacher, unnamed, {"0": "b", "1": "a"}) == [1, 0]
