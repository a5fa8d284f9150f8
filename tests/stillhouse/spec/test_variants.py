from typing import Any

import pytest

from stillhouse.errors import InputRejected, SpecInvalid
from stillhouse.spec import JobSpec, variants

TEACHER = "tch_" + "1" * 26
TEMPERATURE, RATE = "/objective/0/temperature", "/training/optimizer/lr"
NETWORK = {"family": "builtin", "name": "mlp", "options": {}}


def job(**fields: Any) -> JobSpec:
    shortest = {
        "teachers": [{"id": TEACHER}],
        "dataset": "ds_" + "2" * 26,
        "students": [{"name": "small", "network": NETWORK}],
    }
    return JobSpec.model_validate(shortest | fields)


def grid(parameters: dict[str, list[Any]], **fields: Any) -> JobSpec:
    return job(sweep={"kind": "grid", "parameters": parameters}, **fields)


def drawn(parameters: dict[str, list[Any]], **sweep: Any) -> list[dict[str, Any]]:
    spec = job(sweep={"kind": "random", "parameters": parameters} | sweep)
    return [variant.changes for variant in variants.expand(spec)]


def test_an_objective_is_swept_as_a_whole() -> None:
    kinds = [[{"kind": "soft_targets"}], [{"kind": "hard_targets"}, {"kind": "labels"}]]
    found = [
        [term.kind for term in one.spec.objective]
        for one in variants.expand(grid({"/objective": kinds}))
    ]
    assert found == [["soft_targets"], ["hard_targets", "labels"]]


def test_a_job_without_a_sweep_is_its_only_variant() -> None:
    spec = job(seeds=2)
    (only,) = variants.expand(spec)
    assert (only.name, only.changes, only.spec) == (None, {}, spec)


def test_a_grid_has_every_combination_whatever_order_its_parameters_were_sent_in() -> None:
    optimizer = {"optimizer": {"kind": "sgd"}}
    one = grid({TEMPERATURE: [1, 4], RATE: [0.1, 0.2]}, training=optimizer)
    other = grid({RATE: [0.1, 0.2], TEMPERATURE: [1, 4]}, training=optimizer)
    found = variants.expand(one)
    assert [(each.name, each.changes) for each in found] == [
        ("v1", {TEMPERATURE: 1, RATE: 0.1}),
        ("v2", {TEMPERATURE: 1, RATE: 0.2}),
        ("v3", {TEMPERATURE: 4, RATE: 0.1}),
        ("v4", {TEMPERATURE: 4, RATE: 0.2}),
    ]
    assert [each.changes for each in variants.expand(other)] == [each.changes for each in found]


def test_values_are_put_into_the_spec_and_the_rest_stays_as_it_was_sent() -> None:
    student = {"name": "small", "network": NETWORK, "input": {"size": [8, 8]}}
    spec = grid({TEMPERATURE: [1, 2.5]}, training={"epochs": 3}, seeds=[7], students=[student])
    second = variants.expand(spec)[1].spec
    assert second.objective[0].model_dump()["temperature"] == 2.5
    assert second.objective[1] == spec.objective[1]
    assert (second.training, second.seeds, second.sweep) == (spec.training, (7,), None)
    fed = second.students[0].input  # rgb as a default isn't rgb in so many words
    assert fed is not None
    assert fed.model_fields_set == {"size"}


def test_random_draws_are_distinct_the_same_again_and_others_by_another_seed() -> None:
    parameters: dict[str, list[Any]] = {
        TEMPERATURE: [1, 2, 3, 4, 5, 6],
        "/objective/0/weight": [0.1, 0.2, 0.3],
    }
    one = drawn(parameters, samples=8)
    assert one == drawn(parameters, samples=8)
    assert len({str(changes) for changes in one}) == 8
    assert one != drawn(parameters, samples=8, seed=1)
    assert drawn(parameters, samples=4) == one[:4]
    assert len(drawn(parameters, samples=18)) == 18


@pytest.mark.parametrize(
    ("parameters", "field", "words"),
    [
        ({"/dataset": ["x"]}, "/dataset", "can't be swept"),
        ({"/training": [{}]}, "/training", "can't be swept"),
        ({"/objective": [[]]}, "/objective", "at least 1 item"),
        ({"/seeds/0": [1]}, "/seeds/0", "can't be swept"),
        ({TEMPERATURE: [1, -1]}, TEMPERATURE, "doesn't fit"),
        ({TEMPERATURE: [1, "hot"]}, TEMPERATURE, "doesn't fit"),
        ({TEMPERATURE: [1, 1]}, TEMPERATURE, "twice"),
        ({"/objective/0/heat": [1]}, "/objective/0/heat", "names nothing"),
        ({"/objective/7/weight": [1]}, "/objective/7/weight", "names nothing"),
        ({RATE: [0.1]}, RATE, "names nothing"),
        ({"/students/0/name": ["a", "b"]}, "/students/0/name", "which students"),
        ({"/teachers/0/id": ["tch_" + "3" * 26]}, "/teachers/0/id", "which teachers"),
    ],
)
def test_what_can_not_be_swept_is_refused_where_it_stands(
    parameters: dict[str, list[Any]], field: str, words: str
) -> None:
    with pytest.raises(SpecInvalid, match=words) as caught:
        variants.expand(grid(parameters))
    assert caught.value.field == f"sweep.parameters.{field}"


def test_values_that_fit_alone_and_not_together_are_refused() -> None:
    spec = grid({"/objective/0/weight": [0, 1], "/objective/1/weight": [0, 1]})
    with pytest.raises(SpecInvalid, match="every term of the objective has weight 0") as caught:
        variants.expand(spec)
    assert caught.value.field == "sweep.parameters"


@pytest.mark.parametrize(
    "sweep",
    [
        {"kind": "random", "parameters": {TEMPERATURE: [1, 2]}},
        {"kind": "random", "parameters": {TEMPERATURE: [1, 2]}, "samples": 3},
        {"kind": "grid", "parameters": {TEMPERATURE: [1, 2]}, "samples": 2},
    ],
)
def test_samples_are_what_a_random_sweep_draws(sweep: dict[str, Any]) -> None:
    with pytest.raises(SpecInvalid) as caught:
        variants.expand(job(sweep=sweep))
    assert caught.value.field == "sweep.samples"


def test_too_many_combinations_are_refused_before_any_is_made() -> None:
    many = {f"/objective/{n}/weight": [0.1 * k for k in range(1, 18)] for n in (0, 1)}
    with pytest.raises(InputRejected) as caught:
        variants.expand(grid(many))
    assert (caught.value.rejected_code, caught.value.field) == ("too_many_runs", "sweep.parameters")
