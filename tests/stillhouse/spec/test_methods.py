from __future__ import annotations

import json
import re
from typing import Any, get_args

import pytest
from pydantic import TypeAdapter

from stillhouse.spec import ObjectiveTerm
from stillhouse.spec.methods import (
    METHODS,
    Method,
    Need,
    is_batch_dependent,
    min_batch,
    min_classes,
    needs,
)

ALL = pytest.mark.parametrize("method", METHODS, ids=lambda method: method.kind)
PAIR = {"student": "a", "teacher": "b"}


def term(kind: str, **fields: Any) -> ObjectiveTerm:
    made: ObjectiveTerm = TypeAdapter(ObjectiveTerm).validate_python({"kind": kind, **fields})
    return made


@ALL
def test_a_method_is_described_as_json_with_a_source_that_can_be_found(method: Method) -> None:
    described = json.loads(json.dumps(method.describe()))
    assert described["needs"]
    assert re.search(r"arXiv:\d{4}\.\d{5}", described["source"])
    assert described["summary"].endswith(".")
    for name, field in described["schema"]["properties"].items():
        assert name == "kind" or "default" in field


@ALL
def test_what_a_term_needs_is_a_known_word_and_the_methods_own(method: Method) -> None:
    found = needs(term(method.kind))
    assert found == method.needs
    assert found <= set(get_args(Need))


def test_every_word_for_a_need_is_used() -> None:
    assert {need for method in METHODS for need in method.needs} == set(get_args(Need))


def test_whatever_reads_maps_reads_activations() -> None:
    for method in METHODS:
        if "stage_maps" in method.needs or hasattr(term(method.kind), "layer"):
            assert "features" in method.needs


@pytest.mark.parametrize(
    ("given", "classes", "batch", "depends"),
    [
        (term("labels"), 2, 1, False),
        (term("labels", class_weights="balanced"), 2, 1, True),
        (term("soft_targets"), 2, 1, False),
        (term("soft_targets", standardize=True), 3, 1, False),
        (term("decoupled"), 3, 1, False),
        (term("correlation"), 2, 3, True),
        (term("correlation", intra=0), 3, 1, False),
        (term("feature_hint", layer=PAIR), 2, 2, False),
        (term("feature_hint", projector="none"), 2, 1, False),
        (term("similarity"), 2, 2, True),
        (term("relations"), 2, 3, True),
        (term("parameter_ratio"), 2, 1, False),
    ],
    ids=str,
)
def test_limits_follow_a_terms_values(
    given: ObjectiveTerm,
    classes: int,
    batch: int,
    depends: bool,  # noqa: FBT001 - a parameter of the tests
) -> None:
    found = (min_classes(given), min_batch(given), is_batch_dependent(given))
    assert found == (classes, batch, depends)
