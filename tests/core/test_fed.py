from typing import Any

import pytest

from core import resolve
from core.inputs import Inputs
from core.tables import Dataset, Teacher
from stillhouse.errors import InputRejected
from stillhouse.spec import JobSpec, SequenceInput, TextInput
from tests import stage as stage_module

TEACHER, DATASET, MORE = "tch_" + "1" * 26, "ds_" + "2" * 26, "ds_" + "3" * 26
VOCABULARY, OTHER = "a" * 64, "b" * 64
TEXT = {"modality": "text", "max_length": 64, "tokenizer": {"tokenizer.json": VOCABULARY}}
SERIES = {"modality": "sequence", "length": 8, "channels": 1, "mean": [0.5], "std": [2.0]}
COLUMNS: list[dict[str, Any]] = [
    {"name": "age", "kind": "number", "mean": 40.0, "std": 9.0},
    {"name": "town", "kind": "category", "values": ["Kiel", "Ulm"]},
]
TABLE = {"modality": "tabular", "columns": COLUMNS}
IMAGE = {"modality": "image", "size": [8, 8], "channels": "gray"}


def dataset(given: dict[str, Any], key: str = DATASET) -> Dataset:
    facts = stage_module.dataset_facts() | {"input": given}
    spec = {"modality": given["modality"], "input": None}
    return Dataset(id=key, classes=["a", "b", "c"], facts=facts, spec=spec, status="ready")


def teacher(given: dict[str, Any] | None) -> Teacher:
    names = ["a", "b", "c"]
    return Teacher(id=TEACHER, classes=names, class_count=3, input=given, status="ready", spec={})


def student(
    theirs: dict[str, Any] | None,
    ours: dict[str, Any],
    *,
    given: dict[str, Any] | None = None,
    transfer: tuple[Dataset, ...] = (),
) -> Any:
    """A resolved student's input."""
    own = stage_module.STUDENT | ({"input": given} if given else {})
    fields = {"transfer": [each.id for each in transfer], "students": [own]}
    spec = JobSpec.model_validate(stage_module.job_spec(TEACHER, DATASET, **fields))
    inputs = Inputs((teacher(theirs),), dataset(ours), transfer)
    return resolve.job(spec, inputs).students[0].input


def refused(theirs: dict[str, Any] | None, ours: dict[str, Any], **more: Any) -> tuple[str, Any]:
    with pytest.raises(InputRejected) as caught:
        student(theirs, ours, **more)
    return caught.value.rejected_code, caught.value.field


def test_texts_get_the_teachers_tokenizer_and_length() -> None:
    assert student(TEXT, {"modality": "text"}) == TextInput.model_validate(TEXT)


def test_a_length_that_the_dataset_was_given_comes_before_the_teachers() -> None:
    assert student(TEXT, {"modality": "text", "max_length": 32}).max_length == 32


def test_a_students_own_tokenizer_and_length_stay() -> None:
    own = {"modality": "text", "max_length": 16, "tokenizer": {"tokenizer.json": OTHER}}
    assert student(TEXT, {"modality": "text"}, given=own) == TextInput.model_validate(own)
    half = student(TEXT, {"modality": "text"}, given={"modality": "text", "max_length": 16})
    assert (half.max_length, half.tokenizer) == (16, {"tokenizer.json": VOCABULARY})


def test_a_text_student_without_any_tokenizer_is_refused() -> None:
    found = refused(None, {"modality": "text"})
    assert found == ("tokenizer_missing", "students.0.input.tokenizer")


def test_series_are_normalised_as_the_teachers_are() -> None:
    theirs = SERIES | {"mean": [1.0], "std": [3.0]}
    made = student(theirs, SERIES)
    assert isinstance(made, SequenceInput)
    assert (made.mean, made.std) == ((1.0,), (3.0,))
    assert student(SERIES | {"mean": None, "std": None}, SERIES).mean == (0.5,)


def test_a_table_is_fed_as_the_dataset_says() -> None:
    assert student(TABLE, TABLE).model_dump(mode="json")["columns"][1] == COLUMNS[1]


@pytest.mark.parametrize(
    ("theirs", "ours"), [(IMAGE, {"modality": "text"}), (TEXT, IMAGE), (SERIES, TABLE)]
)
def test_a_teacher_of_another_modality_is_refused(theirs: Any, ours: Any) -> None:
    assert refused(theirs, ours) == ("modality_differs", "teachers.0.id")


def test_a_text_dataset_for_an_image_student_is_refused() -> None:
    given = {"size": [8, 8], "channels": "gray"}
    found = refused(TEXT, {"modality": "text"}, given=given)
    assert found == ("modality_differs", "students.0.input")


@pytest.mark.parametrize(
    "change", [{"length": 9}, {"channels": 2, "mean": [0.5, 0.5], "std": [1.0, 1.0]}]
)
def test_series_of_another_shape_are_refused(change: dict[str, Any]) -> None:
    assert refused(SERIES | change, SERIES) == ("inputs_differ", "teachers.0.id")
    assert refused(SERIES, SERIES, given=SERIES | change)[1] == "students.0.input"


@pytest.mark.parametrize("values", [["Ulm", "Kiel"], ["Kiel"]])
def test_categories_with_other_numbers_are_refused(values: list[str]) -> None:
    """A category is stored as its value's number: another order would be other data."""
    other = {"modality": "tabular", "columns": [COLUMNS[0], COLUMNS[1] | {"values": values}]}
    assert refused(other, TABLE) == ("inputs_differ", "teachers.0.id")
    found = refused(TABLE, TABLE, transfer=(dataset(other, MORE),))
    assert found == ("inputs_differ", "transfer.0")


@pytest.mark.parametrize(
    ("more", "code"),
    [
        ({"modality": "text"}, "modality_differs"),
        (IMAGE | {"size": [9, 8]}, "inputs_differ"),
        (IMAGE | {"channels": "rgb"}, "inputs_differ"),
    ],
)
def test_a_transfer_set_has_the_datasets_form(more: dict[str, Any], code: str) -> None:
    assert refused(IMAGE, IMAGE, transfer=(dataset(more, MORE),)) == (code, "transfer.0")
    assert student(IMAGE, IMAGE, transfer=(dataset(IMAGE, MORE),)).size == (8, 8)
