from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest

from stillhouse.spec import JobSpec, ResolvedJob, planned, variants
from worker.engine import objective
from worker.engine.proof import arms, sweep
from worker.engine.proof.arms import Arm, Trained
from worker.protocol import Assignment

INPUT = {"size": [8, 8], "channels": "gray"}
STUDENT = {"name": "small", "network": {"family": "builtin", "name": "mlp"}, "input": INPUT}
SPEC = {
    "teachers": [{"id": "tch_" + "t" * 26}],
    "dataset": "ds_" + "d" * 26,
    "students": [STUDENT],
    "training": {"epochs": 2},
    "seeds": [0, 1, 2],
}
TEMPERATURE, EPOCHS = "/objective/0/temperature", "/training/epochs"


def _expanded(parameters: dict[str, list[Any]], **fields: Any) -> list[variants.Variant]:
    whole = SPEC | {"sweep": {"kind": "grid", "parameters": parameters}} | fields
    return list(variants.expand(JobSpec.model_validate(whole)))


def _specs(found: list[variants.Variant]) -> sweep.Specs:
    specs: dict[str | None, ResolvedJob] = {
        one.name: ResolvedJob.model_validate(one.spec.model_dump()) for one in found
    }
    return {None: specs[found[0].name], **specs}


def _arm(arm: str, variant: str | None, *, right: float = 0.5, student: str = "small") -> Arm:
    """Three seeds, right for a share of forty test items and of the validation part."""
    trained = tuple(
        Trained(
            id=f"stu_{student}-{arm}-{variant}-{seed}", student=student, arm=arm, variant=variant,
            seed=seed, figures={"validation": {"accuracy": right + 0.01 * seed, "loss": 1 - right},
                                "test": {"accuracy": right, "loss": 1 - right}},
            gap=None, correct=np.arange(40) < 40 * right, losses=np.full(40, 1 - right),
            agreement=None, divergence=None, parameters=10, macs=0, bytes=0, latency=[],
        )
        for seed in range(3)
    )  # fmt: skip
    return Arm(student, arm, variant, trained, ())


def _named(pairs: list[tuple[Arm, Arm]]) -> list[tuple[str | None, str | None]]:
    return [(treated.variant, control.variant) for treated, control in pairs]


def _assignment(found: list[variants.Variant], parameters: Any, made: list[Arm]) -> Assignment:
    students = [
        {"id": one.id, "result": {"parameter_ratio": {"lambda": one.seed + 1.0, "cosine": 0.5}}}
        for arm in made
        for one in arm.trained
    ]
    listed = [{"name": one.name, "changes": one.changes, "spec": {}} for one in found]
    context = {"sweep": {"kind": "grid", "parameters": parameters}}
    return cast("Assignment", {"context": context, "variants": listed, "students": students})


def test_variants_of_an_objective_are_held_against_the_one_control_that_they_share() -> None:
    specs = _specs(_expanded({TEMPERATURE: [1, 4]}))
    made = [_arm("no_teacher", None), _arm("distilled", "v1"), _arm("distilled", "v2")]
    assert _named(sweep.pairs(made, specs)) == [("v1", None), ("v2", None)]


def test_variants_of_a_recipe_are_held_against_the_control_of_the_same_recipe() -> None:
    specs = _specs(_expanded({TEMPERATURE: [1, 4], EPOCHS: [2, 3]}))
    made = [
        *(_arm("no_teacher", name) for name in ("v1", "v2")),
        *(_arm("distilled", name) for name in ("v1", "v2", "v3", "v4")),
    ]
    assert _named(sweep.pairs(made, specs)) == [
        ("v1", "v1"), ("v2", "v2"), ("v3", "v1"), ("v4", "v2"),
    ]  # fmt: skip


def test_a_control_of_the_variant_itself_comes_before_one_that_is_equal() -> None:
    """What was sent as 'auto' in one variant may come to the same in another."""
    found = _expanded({EPOCHS: [2, "auto"]})
    specs = dict(_specs(found))
    specs["v2"] = specs["v1"]
    made = [_arm(arm, name) for arm in ("no_teacher", "distilled") for name in ("v1", "v2")]
    assert _named(sweep.pairs(made, specs)) == [("v1", "v1"), ("v2", "v2")]


def test_students_are_held_against_controls_of_their_own() -> None:
    other = STUDENT | {"name": "other"}
    specs = _specs(_expanded({TEMPERATURE: [1]}, students=[STUDENT, other]))
    made = [
        _arm(arm, name, student=student)
        for student in ("small", "other")
        for arm, name in (("distilled", "v1"), ("no_teacher", None))
    ]
    found = [(one.student, two.student) for one, two in sweep.pairs(made, specs)]
    assert found == [("small", "small"), ("other", "other")]


def test_all_variants_are_one_family_to_holm() -> None:
    """The more variants are tried, the more a single one must show."""
    specs = _specs(_expanded({TEMPERATURE: [1, 4]}))
    control = _arm("no_teacher", None, right=0.4)
    one, two = (_arm("distilled", name, right=0.7) for name in ("v1", "v2"))
    adjusted = [
        arms.compare(sweep.pairs(made, specs), clusters=None, doubts=(), condition="")
        for made in ([control, one], [control, one, two])
    ]
    (alone,), (first, second) = adjusted
    assert first["p_adjusted"] == pytest.approx(2 * alone["p_adjusted"])
    assert [(each["variant"], each["control_variant"]) for each in (first, second)] == [
        ("v1", None),
        ("v2", None),
    ]


def test_validation_alone_selects_a_variant() -> None:
    parameters = {TEMPERATURE: [8, 1, 2]}
    found = _expanded(parameters)
    made = [_arm("distilled", name, right=right)
            for name, right in (("v1", 0.5), ("v2", 0.8), ("v3", 0.6))]  # fmt: skip
    for one in made[2].trained:
        one.figures["test"]["accuracy"] = 1.0
    assignment = _assignment(found, parameters, made)
    told = sweep.table(assignment, made, _specs(found), select="validation_accuracy")
    assert told is not None
    assert [(one["name"], one["selected"]) for one in told["variants"]] == [
        ("v1", False), ("v2", True), ("v3", False),
    ]  # fmt: skip
    (curve,) = told["curves"]
    assert [(point["value"], point["variant"]) for point in curve["points"]] == [
        (1, "v2"), (2, "v3"), (8, "v1"),
    ]  # fmt: skip
    assert curve["points"][0]["validation"]["mean"] == pytest.approx(0.81)
    assert curve["points"][0]["validation"]["std"] == pytest.approx(0.01)
    assert curve["points"][0]["test"]["values"] == [0.8] * 3
    assert curve["points"][0]["parameter_ratio"]["lambda"]["mean"] == pytest.approx(2.0)


def test_the_lowest_loss_selects_where_the_loss_does() -> None:
    parameters = {TEMPERATURE: [1, 2]}
    found = _expanded(parameters)
    made = [_arm("distilled", "v1", right=0.5), _arm("distilled", "v2", right=0.9)]
    assignment = _assignment(found, parameters, made)
    told = sweep.table(assignment, made, _specs(found), select="validation_loss")
    assert told is not None
    assert [one["name"] for one in told["variants"] if one["selected"]] == ["v2"]


def test_a_job_without_a_sweep_has_no_table() -> None:
    assignment = cast("Assignment", {"context": {}, "variants": [], "students": []})
    specs: sweep.Specs = {None: ResolvedJob.model_validate(SPEC)}
    assert sweep.table(assignment, [_arm("distilled", None)], specs, select="x") is None


@pytest.mark.parametrize(
    "terms",
    [
        [{"kind": "soft_targets"}],
        [{"kind": "soft_targets"}, {"kind": "labels", "weight": 0.3, "label_smoothing": 0.1}],
        [{"kind": "labels", "class_weights": "balanced"}, {"kind": "hard_targets"}],
    ],
)
def test_a_run_without_the_teacher_depends_on_what_it_is_trained_to_do(terms: list[Any]) -> None:
    """The service shares controls by the same rule by which the engine trains them."""
    spec = ResolvedJob.model_validate(SPEC | {"objective": terms})
    alone = objective.for_arm(spec.objective, "no_teacher")
    trained = spec.model_copy(update={"objective": alone})
    student = spec.students[0]
    assert planned.essence_of(spec, student, "no_teacher") == planned.essence_of(
        trained, student, "no_teacher"
    )
