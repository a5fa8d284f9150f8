from __future__ import annotations

from typing import Any

from tests.worker.conftest import RESNET, Lab
from tests.worker.engine.terms import lesson
from worker.engine import cautions

VGG = {"family": "builtin", "name": "vgg8", "options": {}}
WIDE = {"family": "builtin", "name": "resnet8x4", "options": {}}
ATTENTION = {"kind": "attention_maps", "layers": [{"student": "layer3", "teacher": "layer3"}]}


def _codes(lab: Lab, *terms: dict[str, Any], **changes: Any) -> list[str]:
    given = lesson.begin(lab, *terms, **changes)
    found = cautions.of_course(given.course, given.student)
    assert all(caution["message"].endswith(".") for caution in found)
    return [caution["code"] for caution in found]


def test_a_plain_objective_gives_no_warning(lab: Lab) -> None:
    assert _codes(lab, {"kind": "soft_targets"}, {"kind": "labels"}) == []


def test_attention_across_families_warns(lab: Lab) -> None:
    across = ATTENTION | {"layers": [{"student": "layer1", "teacher": "block0"}]}
    assert _codes(lab, across, teacher=VGG) == ["attention_across_families"]
    assert _codes(lab, ATTENTION, teacher=WIDE) == []


def test_accumulation_warns_where_a_term_compares_the_items(lab: Lab) -> None:
    halves = {"accumulate": 2}
    assert _codes(lab, {"kind": "similarity"}, training=halves) == ["accumulation_not_equivalent"]
    assert _codes(lab, {"kind": "soft_targets"}, training=halves) == []
    assert _codes(lab, {"kind": "similarity"}) == []


def test_a_pull_from_random_weights_warns(lab: Lab) -> None:
    assert _codes(lab, {"kind": "parameter_ratio"}, network=RESNET) == ["pull_from_random"]


def test_terms_of_weight_zero_do_not_warn(lab: Lab) -> None:
    terms = ({"kind": "labels"}, {"kind": "parameter_ratio", "weight": 0})
    assert _codes(lab, *terms) == []
