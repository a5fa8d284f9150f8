from typing import Any

import pytest

from core import alignment, fed, resolve
from core.inputs import Inputs
from core.tables import Dataset, Teacher
from stillhouse.errors import ClassesDiffer
from stillhouse.spec import InputSpec, JobSpec, ResolvedJob
from tests import stage as stage_module

TEACHER = "tch_" + "1" * 26
DATASET = "ds_" + "2" * 26


def dataset(rows: int = 1000, *, classes: Any = ("cat", "dog", "owl"), **facts: Any) -> Dataset:
    found = stage_module.dataset_facts(rows) | facts
    return Dataset(
        id=DATASET, classes=list(classes), facts=found, spec={"input": None}, status="ready"
    )


def teacher(*, classes: Any = ("cat", "dog", "owl"), count: int | None = None) -> Teacher:
    named = None if classes is None else list(classes)
    size = count if count is not None else len(named or [])
    given = stage_module.INPUT | {"interpolation": "bicubic"}
    return Teacher(id=TEACHER, classes=named, class_count=size, input=given, status="ready")


def resolved(rows: int = 1000, **fields: Any) -> ResolvedJob:
    spec = JobSpec.model_validate(stage_module.job_spec(TEACHER, DATASET, **fields))
    return resolve.job(spec, Inputs((teacher(),), dataset(rows)))


@pytest.mark.parametrize(
    ("rows", "epochs", "batch_size"),
    [
        (499, 100, 32), (500, 40, 64), (1_999, 40, 64), (2_000, 30, 128), (9_999, 30, 128),
        (99_999, 30, 128), (100_000, 20, 256), (20, 100, 20),
    ],
)  # fmt: skip
def test_auto_becomes_what_the_table_says(rows: int, epochs: int, batch_size: int) -> None:
    training = resolved(rows, training=dict.fromkeys(("epochs", "batch_size"), "auto")).training
    assert (training.epochs, training.batch_size) == (epochs, batch_size)


def test_nothing_but_precision_is_left_to_choose() -> None:
    auto = ("epochs", "batch_size", "optimizer", "schedule", "augment", "views", "view_seed",
            "precision", "deterministic", "clip_norm")  # fmt: skip
    training = resolved(training=dict.fromkeys(auto, "auto")).training.model_dump()
    assert training.pop("precision") == "auto"
    assert "auto" not in training.values()
    assert training["optimizer"]["kind"] == "adamw"
    assert training["optimizer"]["lr"] == 2e-3
    assert training["schedule"] == {"kind": "cosine", "warmup_epochs": 2.0}
    assert training["augment"] == ()
    assert (training["views"], training["clip_norm"]) == (1, 1.0)
    assert training["deterministic"] is False


def test_what_is_named_stays() -> None:
    given = {
        "epochs": 3,
        "batch_size": 7,
        "optimizer": {"kind": "sgd", "lr": 0.3},
        "schedule": {"kind": "constant", "warmup_epochs": 1},
        "views": 4,
        "view_seed": 9,
        "clip_norm": None,
        "precision": "bf16",
    }
    training = resolved(training=given).training.model_dump()
    assert (training["optimizer"]["kind"], training["optimizer"]["lr"]) == ("sgd", 0.3)
    rest = {key: value for key, value in given.items() if key != "optimizer"}
    assert {key: training[key] for key in rest} == rest


def test_sgd_without_a_rate_gets_its_own() -> None:
    optimizer = resolved(training={"optimizer": {"kind": "sgd"}}).training.optimizer
    assert not isinstance(optimizer, str)
    assert optimizer.lr == 0.05


def test_augmented_rows_are_seen_afresh_each_epoch() -> None:
    assert resolved(training={"augment": [{"kind": "flip"}]}).training.views == "fresh"


def test_a_deterministic_job_computes_in_fp32() -> None:
    fields = {"deterministic": True, "precision": "bf16"}
    assert resolved(training=fields).training.precision == "fp32"


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"seeds": 3},
        {"training": {"augment": [{"kind": "crop"}], "optimizer": {"kind": "sgd"}}},
        {"students": [stage_module.STUDENT | {"input": {"size": [4, 4], "channels": "rgb"}}]},
        {"objective": [{"kind": "labels"}], "controls": [], "metadata": {"a": "b"}},
    ],
)
def test_resolving_the_resolved_changes_nothing(fields: dict[str, Any]) -> None:
    once = resolved(**fields).model_dump(mode="json")
    again = resolve.job(JobSpec.model_validate(once), Inputs((teacher(),), dataset()))
    assert again.model_dump(mode="json") == once


@pytest.mark.parametrize(
    ("rows", "batch", "per_epoch"),
    [(60, 60, 1), (60, 20, 3), (61, 20, 3), (62, 20, 4), (1, 1, 1), (3, 1, 3), (61, 60, 1)],
)
def test_a_last_batch_of_one_joins_the_one_before_it(rows: int, batch: int, per_epoch: int) -> None:
    job = resolved(rows, training={"epochs": 5, "batch_size": batch})
    assert resolve.steps(job, rows) == 5 * per_epoch


def test_classes_in_another_order_are_aligned_by_name() -> None:
    order = alignment.class_order(teacher(classes=("owl", "cat", "dog")), dataset())
    assert order == [1, 2, 0]
    assert [("owl", "cat", "dog")[index] for index in order] == ["cat", "dog", "owl"]
    assert alignment.warnings(teacher(), dataset()) == []


def test_classes_in_the_same_order_need_no_alignment() -> None:
    assert alignment.class_order(teacher(), dataset()) is None


@pytest.mark.parametrize("unnamed", ["teacher", "dataset"])
def test_classes_without_names_are_matched_by_position_and_a_warning_says_so(unnamed: str) -> None:
    mine = teacher(classes=None, count=3) if unnamed == "teacher" else teacher()
    names = {"classes_unnamed": True} if unnamed == "dataset" else {}
    ours = dataset(classes=("0", "1", "2") if names else ("cat", "dog", "owl"), **names)
    assert alignment.class_order(mine, ours) is None
    warnings = alignment.warnings(mine, ours)
    assert [warning["code"] for warning in warnings] == ["classes_by_position"]
    assert unnamed in warnings[0]["message"]


@pytest.mark.parametrize(
    "mine",
    [
        teacher(classes=("cat", "dog")), teacher(classes=("cat", "dog", "eel")),
        teacher(classes=None, count=4),
    ],
)  # fmt: skip
def test_other_classes_are_refused(mine: Teacher) -> None:
    with pytest.raises(ClassesDiffer) as caught:
        alignment.class_order(mine, dataset())
    assert caught.value.field == "teachers.0.id"


def test_a_student_sees_the_datasets_size_with_the_teachers_statistics() -> None:
    seen = resolved().students[0].input
    assert seen == InputSpec(
        size=(8, 8), channels="gray", mean=(0.5,), std=(0.25,), interpolation="bicubic"
    )


def test_a_students_own_input_keeps_its_size_and_gets_missing_statistics() -> None:
    own = {"size": [16, 16], "channels": "rgb", "mean": [0.1, 0.2, 0.3]}
    seen = resolved(students=[stage_module.STUDENT | {"input": own}]).students[0].input
    assert isinstance(seen, InputSpec)
    assert (seen.size, seen.mean) == ((16, 16), (0.1, 0.2, 0.3))
    assert seen.std == (0.25, 0.25, 0.25)


def test_statistics_of_colours_are_averaged_for_gray() -> None:
    coloured = teacher()
    coloured.input = {"size": [8, 8], "channels": "rgb", "mean": [0.3, 0.6, 0.9]}
    default = fed.default(Inputs((coloured,), dataset()))
    assert isinstance(default, InputSpec)
    assert default.mean == pytest.approx((0.6,))
    assert default.std == (1.0,)
