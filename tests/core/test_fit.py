from typing import Any

import pytest

from core import fit
from core.inputs import Inputs
from core.tables import Dataset, Teacher
from stillhouse.errors import InputRejected
from stillhouse.spec import JobSpec
from tests import stage as stage_module

TEACHER, DATASET = "tch_" + "1" * 26, "ds_" + "2" * 26


def dataset(modality: str = "image", classes: tuple[str, ...] = ("a", "b", "c")) -> Dataset:
    facts = stage_module.dataset_facts()
    return Dataset(
        id=DATASET, classes=list(classes), facts=facts, spec={"modality": modality}, status="ready"
    )


def spec_of(**fields: Any) -> JobSpec:
    return JobSpec.model_validate(stage_module.job_spec(TEACHER, DATASET, **fields))


def refused(work: Any, *arguments: Any) -> tuple[str, str | None]:
    with pytest.raises(InputRejected) as caught:
        work(*arguments)
    return caught.value.rejected_code, caught.value.field


def test_nothing_can_be_done_to_texts() -> None:
    spec = spec_of(training={"augment": [{"kind": "mixup"}]})
    teachers = (Teacher(id=TEACHER, spec={}),)
    fit.require(spec, Inputs(teachers, dataset()))
    found = refused(fit.require, spec, Inputs(teachers, dataset("text")))
    assert found == ("augment_not_for_modality", "training.augment")


def test_an_assistant_stands_between_one_teacher_and_its_student() -> None:
    assistant = {"network": stage_module.NETWORK}
    other = {"id": "tch_" + "3" * 26, "assistant": assistant}
    spec = spec_of(teachers=[{"id": TEACHER}, other])
    teachers = tuple(Teacher(id=one["id"], spec={}) for one in ({"id": TEACHER}, other))
    found = refused(fit.require, spec, Inputs(teachers, dataset()))
    assert found == ("assistant_among_several", "teachers.1.assistant")


@pytest.mark.parametrize(
    ("term", "field"),
    [
        ({"kind": "soft_targets", "standardize": True}, "objective.0.standardize"),
        ({"kind": "decoupled"}, "objective.0.kind"),
    ],
)
def test_what_needs_three_classes_is_refused_with_two(term: dict[str, Any], field: str) -> None:
    spec = spec_of(objective=[term])
    found = refused(fit.require_classes, spec, dataset(classes=("a", "b")))
    assert found == ("needs_three_classes", field)
    fit.require_classes(spec, dataset())
    fit.require_classes(spec_of(objective=[term | {"weight": 0}, {"kind": "labels"}]),
                        dataset(classes=("a", "b")))  # fmt: skip


def test_class_weights_are_as_many_as_the_classes() -> None:
    spec = spec_of(objective=[{"kind": "labels", "class_weights": [1, 2]}])
    found = refused(fit.require_classes, spec, dataset())
    assert found == ("class_weights_length", "objective.0.class_weights")
    fit.require_classes(spec, dataset(classes=("a", "b")))
