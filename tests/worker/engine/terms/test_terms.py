from __future__ import annotations

from typing import Any

import pytest
import torch

from stillhouse.errors import InputRejected
from tests.worker.conftest import MLP, RESNET, Lab
from tests.worker.engine.terms import lesson

WIDE = {"family": "builtin", "name": "resnet8x4", "options": {}}
LAYER2 = {"student": "layer2", "teacher": "layer2"}
LAYER3 = {"student": "layer3", "teacher": "layer3"}
FEATURES: dict[str, dict[str, Any]] = {
    "feature_hint": {"layer": LAYER2},
    "attention_maps": {"layers": [LAYER2, LAYER3]},
    "similarity": {"layer": LAYER3},
    "relations": {"layer": LAYER3},
    "contrastive": {"layer": LAYER3, "dimensions": 16},
    "review": {"layers": [LAYER2, LAYER3]},
}
OUTPUTS: dict[str, dict[str, Any]] = {
    "labels": {},
    "soft_targets": {},
    "decoupled": {},
    "correlation": {},
    "hard_targets": {},
    "virtual_teacher": {},
}
KINDS = OUTPUTS | FEATURES | {"parameter_ratio": {"weight": 1.0}}


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_every_term_is_learned(lab: Lab, kind: str) -> None:
    teacher = RESNET if kind == "parameter_ratio" else WIDE
    given = lesson.begin(lab, {"kind": kind, **KINDS[kind]}, teacher=teacher)
    losses = given.learn(steps=6)
    assert losses[-1] < 0.9 * losses[0]
    assert list(given.objective(given.batch()).shares) == [f"loss.{kind}"]


@pytest.mark.parametrize("kind", sorted(FEATURES))
def test_layers_are_found_where_none_is_named(lab: Lab, kind: str) -> None:
    given = lesson.begin(lab, {"kind": kind}, teacher=WIDE)
    assert given.objective.student_layers
    assert given.objective(given.batch()).total.isfinite()


@pytest.mark.parametrize("kind", sorted(FEATURES))
def test_an_unknown_layer_answers_with_those_there_are(lab: Lab, kind: str) -> None:
    wrong = {"student": "layer2", "teacher": "layer9"}
    named = {"layers": [wrong, wrong]} if "layers" in FEATURES[kind] else {"layer": wrong}
    with pytest.raises(InputRejected) as refused:
        lesson.begin(lab, {"kind": "labels"}, {"kind": kind, **named})
    assert refused.value.rejected_code == "layer_unknown"
    assert refused.value.field == f"objective.1.{next(iter(named))}"
    allowed = refused.value.extra["allowed"]
    assert allowed[0] in ("layer1", "layer2", "layer3")
    assert "fc" in allowed
    assert len(allowed) <= 100


def test_a_layer_below_another_must_be_there_too(lab: Lab) -> None:
    idle = {"family": "builtin", "name": "mlp", "options": {"hidden": []}}
    named = {"student": "body", "teacher": "body.0.nothing"}
    with pytest.raises(InputRejected, match="has no layer"):
        lesson.begin(lab, {"kind": "similarity", "layer": named}, network=idle, teacher=MLP)


def test_widths_that_differ_need_a_projector(lab: Lab) -> None:
    plain = {"kind": "feature_hint", "layer": LAYER2, "projector": "none"}
    with pytest.raises(InputRejected) as refused:
        lesson.begin(lab, plain, teacher=WIDE)
    assert refused.value.rejected_code == "widths_differ"
    assert refused.value.field == "objective.0.projector"
    same = lesson.begin(lab, plain, teacher=RESNET)
    assert not list(same.objective.parameters())


def test_a_hint_between_maps_of_other_sizes_compares_the_smaller_one(lab: Lab) -> None:
    named = {"student": "layer1", "teacher": "layer3"}
    given = lesson.begin(lab, {"kind": "feature_hint", "layer": named, "projector": "linear"})
    losses = given.learn(steps=6)
    assert losses[-1] < losses[0]


def test_a_hint_between_a_vector_and_a_map_compares_the_means(lab: Lab) -> None:
    named = {"student": "body", "teacher": "layer3"}
    given = lesson.begin(lab, {"kind": "feature_hint", "layer": named}, network=MLP)
    losses = given.learn(steps=6)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("kind", ["review", "attention_maps"])
def test_a_vector_has_no_stage_maps(lab: Lab, kind: str) -> None:
    flat = {"student": "body", "teacher": "layer3"}
    with pytest.raises(InputRejected) as refused:
        lesson.begin(lab, {"kind": kind, "layers": [flat, flat]}, network=MLP)
    assert refused.value.rejected_code == "needs_stage_maps"


def test_any_two_layers_have_similarities_and_relations(lab: Lab) -> None:
    named = {"student": "body.1", "teacher": "layer1"}
    both = [{"kind": kind, "layer": named} for kind in ("similarity", "relations")]
    given = lesson.begin(lab, *both, network=MLP)
    assert given.objective(given.batch()).total.isfinite()


def test_balanced_class_weights_are_those_of_the_train_rows(lab: Lab) -> None:
    given = lesson.begin(lab, {"kind": "labels", "class_weights": "balanced"})
    labels = given.course.labels
    labels[labels == 9] = 3  # now three is common, and nine isn't there
    labels[:5] = -1
    built = given.course.objective(given.network, given.student)
    weights = dict(built.named_buffers())["terms.0.class_weights"]
    expected = torch.tensor([125 / (10 * max(int((labels == c).sum()), 1)) for c in range(10)])
    assert weights[9] == 0
    assert torch.allclose(weights[:9], expected[:9])
    assert "terms.0.class_weights" not in built.state_dict()


def test_class_weights_of_another_number_of_classes_are_refused(lab: Lab) -> None:
    with pytest.raises(InputRejected) as refused:
        lesson.begin(lab, {"kind": "labels", "class_weights": [1, 2, 3]})
    assert refused.value.rejected_code == "class_weights_length"
    assert refused.value.field == "objective.0.class_weights"
