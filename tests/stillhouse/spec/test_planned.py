from typing import Any

import pytest

from stillhouse.errors import InputRejected
from stillhouse.spec import ResolvedJob, planned, variants
from stillhouse.spec.planned import TrainRun
from tests.stillhouse.spec.test_variants import NETWORK, TEMPERATURE, grid, job


def trained(spec: Any) -> list[tuple[str, str | None]]:
    return [(run.arm, run.variant) for run in planned.runs(variants.expand(spec))]


def test_a_sweep_over_the_objective_has_one_control() -> None:
    assert trained(grid({TEMPERATURE: [1, 2, 4]})) == [
        ("distilled", "v1"), ("no_teacher", None), ("distilled", "v2"), ("distilled", "v3"),
    ]  # fmt: skip


def test_a_sweep_over_the_recipe_has_a_control_for_each_of_its_values() -> None:
    spec = grid({"/training/epochs": [2, 3], TEMPERATURE: [1, 4]})
    assert trained(spec) == [
        ("distilled", "v1"), ("no_teacher", "v1"), ("distilled", "v2"), ("no_teacher", "v2"),
        ("distilled", "v3"), ("distilled", "v4"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("pointer", "values", "fields"),
    [
        ("/students/0/init/ratio", [1, 2], {"init": {"kind": "from_teacher"}}),
        ("/students/0/init", [{"kind": "random"}, {"kind": "from_teacher"}], {}),
    ],
)
def test_a_student_that_begins_at_its_teacher_has_a_control_that_does_not(
    pointer: str, values: list[Any], fields: dict[str, Any]
) -> None:
    students = [{"name": "small", "network": NETWORK} | fields]
    found = trained(grid({pointer: values}, students=students))
    assert [run for run in found if run[0] == "no_teacher"] == [("no_teacher", None)]


def test_the_labels_weight_is_no_part_of_the_control_and_their_smoothing_is() -> None:
    terms = [{"kind": "soft_targets"}, {"kind": "labels"}]
    weight = grid({"/objective/1/weight": [0.1, 0.5]}, objective=terms)
    smoothing = grid({"/objective/1/label_smoothing": [0.0, 0.1]}, objective=terms)
    controls = [[run for run in trained(s) if run[0] != "distilled"] for s in (weight, smoothing)]
    assert controls == [[("no_teacher", None)], [("no_teacher", "v1"), ("no_teacher", "v2")]]


def test_a_student_that_a_sweep_leaves_alone_is_trained_once() -> None:
    students = [{"name": name, "network": NETWORK} for name in ("small", "other")]
    spec = grid({"/students/0/network/options": [{"hidden": [8]}, {}]}, students=students)
    found = [run for run in planned.runs(variants.expand(spec)) if run.student == "other"]
    assert [(run.arm, run.variant) for run in found] == [("distilled", None), ("no_teacher", None)]


def test_a_job_that_trains_a_teacher_has_one_arm_and_one_that_imagines_one_has_two() -> None:
    fields = {"dataset": "ds_" + "2" * 26, "students": [{"name": "a", "network": NETWORK}]}
    alone = ResolvedJob.model_validate(fields | {"objective": [{"kind": "labels"}]})
    assert [run.arm for run in planned.runs(variants.expand(alone))] == ["no_teacher"]
    terms = [{"kind": "labels"}, {"kind": "virtual_teacher"}]
    imagined = ResolvedJob.model_validate(fields | {"objective": terms})
    assert [run.arm for run in planned.runs(variants.expand(imagined))] == [
        "distilled",
        "no_teacher",
    ]


def test_each_student_is_trained_in_each_arm_with_each_seed() -> None:
    assert planned.runs(variants.expand(job(seeds=2))) == [
        TrainRun("small", arm, None, seed) for arm in ("distilled", "no_teacher") for seed in (0, 1)
    ]


def test_too_many_runs_are_refused_before_any_is_made() -> None:
    spec = grid({"/training/epochs": list(range(1, 61))}, seeds=100)
    with pytest.raises(InputRejected) as caught:
        planned.runs(variants.expand(spec))
    assert (caught.value.rejected_code, caught.value.field) == ("too_many_runs", "sweep")
