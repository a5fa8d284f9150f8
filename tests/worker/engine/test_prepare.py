from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_digits
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from stillhouse.errors import InputRejected
from tests.worker.conftest import INPUT, MLP, RESNET, TEACHER, Lab
from worker.engine import prepare
from worker.engine.stop import Stopped
from worker.protocol import Assignment, Message


def _quiet(_message: Message) -> None:
    pass


def _make(assignment: Assignment) -> dict[str, Any]:
    result, listing = prepare.make(assignment, say=_quiet)
    assert listing == []
    return result


def _refusal(assignment: Assignment) -> InputRejected:
    with pytest.raises(InputRejected) as refused:
        _make(assignment)
    return refused.value


def _students(*networks: dict[str, Any], **fields: Any) -> list[dict[str, Any]]:
    return [
        {"name": f"s{place}", "network": network, "input": INPUT} | fields
        for place, network in enumerate(networks)
    ]


def test_every_student_is_measured_by_real_steps(lab: Lab) -> None:
    spec = lab.spec(students=_students(MLP, RESNET))
    result = _make(lab.assignment("prepare", spec=spec))
    mlp, resnet = result["students"]["s0"], result["students"]["s1"]
    assert mlp["parameters"] == 64 * 24 + 24 + 24 * 10 + 10
    assert mlp["macs"] == 64 * 24 + 24 * 10
    assert mlp["bytes"] == 4 * mlp["parameters"]
    assert mlp["step_seconds"] > 0
    assert resnet["step_seconds"] > 0
    assert result["seconds"] > 0


def test_the_teacher_is_judged_on_train_and_validation(lab: Lab) -> None:
    result = _make(lab.assignment("prepare"))
    figures = result["teachers"][TEACHER]
    assert 0 <= figures["train"]["accuracy"] <= 1
    assert figures["validation"]["loss"] > 0
    assert figures["item_seconds"] > 0
    assert figures["parameters"] > 0
    assert result["teacher_forwards"] == 130 + 60


def test_the_test_part_is_never_opened(lab: Lab) -> None:
    assignment = lab.assignment("prepare")
    Path(assignment["dataset"]["parts"]["test"]).unlink()
    _make(assignment)


def test_an_estimate_leaves_the_teachers_metrics_out(lab: Lab) -> None:
    result = _make(lab.assignment("estimate"))
    figures = result["teachers"][TEACHER]
    assert figures["train"] is None
    assert figures["item_seconds"] > 0
    assert result["students"]["small"]["step_seconds"] > 0


def test_a_job_that_trains_a_teacher_has_none(lab: Lab) -> None:
    spec = lab.spec(teachers=[])
    result = _make(lab.assignment("prepare", spec=spec, teachers=[], job_kind="train"))
    assert result["teachers"] == {}
    assert result["teacher_forwards"] == 0


def test_a_batch_larger_than_the_data_is_refused(lab: Lab) -> None:
    refused = _refusal(lab.assignment("prepare", spec=lab.spec(training={"batch_size": 131})))
    assert refused.rejected_code == "batch_larger_than_data"
    assert refused.field == "training.batch_size"
    assert "130" in refused.detail


@pytest.mark.parametrize(
    ("part", "rows", "code"),
    [
        ("validation", (0, 0), "no_validation_rows"),
        ("train", (0, 0), "too_few_rows"),
        ("train", (0, 1), "too_few_rows"),
    ],
)
def test_parts_too_small_to_train_on_or_choose_by_are_refused(
    lab: Lab, part: str, rows: tuple[int, int], code: str
) -> None:
    assignment = lab.assignment("prepare")
    lab.part(part, rows=rows)
    assert _refusal(assignment).rejected_code == code


def test_a_dataset_without_a_validation_part_is_refused(lab: Lab) -> None:
    assignment = lab.assignment("prepare")
    del assignment["dataset"]["parts"]["validation"]
    assert _refusal(assignment).rejected_code == "no_validation_rows"


def test_what_is_wrong_with_a_student_names_its_field(lab: Lab) -> None:
    unknown = {"family": "timm", "name": "resnet18x", "options": {}}
    refused = _refusal(lab.assignment("prepare", spec=lab.spec(students=_students(MLP, unknown))))
    assert refused.rejected_code == "unknown_network"
    assert refused.field == "students.1.network.name"


def test_a_network_that_fails_only_in_training_is_refused(lab: Lab) -> None:
    # One item a step, and one pixel an item at its end: nothing to normalise over.
    tiny = {"family": "timm", "name": "resnet10t", "options": {}}
    spec = lab.spec(students=_students(tiny), training={"batch_size": 1})
    refused = _refusal(lab.assignment("prepare", spec=spec))
    assert refused.rejected_code == "network_not_trainable"
    assert refused.field == "students.0.network"


def test_standardizing_two_classes_is_refused(lab: Lab) -> None:
    spec = lab.spec(objective=[{"kind": "soft_targets", "standardize": True}])
    assignment = lab.assignment("prepare", spec=spec)
    assignment["dataset"]["classes"] = ["a", "b"]
    refused = _refusal(assignment)
    assert refused.rejected_code == "needs_three_classes"
    assert refused.field is not None
    assert refused.field.startswith("objective")


def test_a_teacher_that_does_not_fit_is_refused(lab: Lab) -> None:
    assignment = lab.assignment("prepare")
    files = lab.teacher(RESNET)
    assignment["teachers"] = [{**files, "network": MLP}]
    assert _refusal(assignment).rejected_code == "teacher_mismatch"


def test_it_can_be_stopped(lab: Lab) -> None:
    def stop(_message: Message) -> None:
        raise Stopped

    with pytest.raises(Stopped):
        prepare.make(lab.assignment("prepare"), say=stop)


def test_every_arm_and_stage_is_made_before_anything_is_spent(lab: Lab) -> None:
    hint = {"kind": "feature_hint", "layer": {"student": "body.9", "teacher": "body.0"}}
    refused = _refusal(lab.assignment("prepare", spec=lab.spec(objective=[hint])))
    assert refused.rejected_code == "layer_unknown"
    assert refused.field is not None
    assert refused.field.startswith("objective.0.layer")
    unknown = {"family": "builtin", "name": "resnet9"}
    chain = [{"id": TEACHER, "assistant": {"network": unknown}}]
    refused = _refusal(lab.assignment("prepare", spec=lab.spec(teachers=chain)))
    assert (refused.rejected_code, refused.field) == (
        "unknown_network", "teachers.0.assistant.network.name",
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["prepare", "estimate"])
@pytest.mark.parametrize(
    ("augment", "code", "field"),
    [
        ([{"kind": "mixup"}, {"kind": "cutmix"}], "two_mixes", "training.augment.1"),
        ([{"kind": "mixup"}, {"kind": "flip"}], None, None),
    ],
)
def test_views_that_do_not_suit_are_refused(
    lab: Lab, augment: list[dict[str, Any]], code: str | None, field: str | None, kind: str
) -> None:
    assignment = lab.assignment(kind, spec=lab.spec(training={"augment": augment}))
    if code is None:
        _make(assignment)
        return
    refused = _refusal(assignment)
    assert (refused.rejected_code, refused.field) == (code, field)


def test_given_weights_that_are_not_there_are_refused(lab: Lab) -> None:
    init = {"kind": "given", "weights": {"blob": "a" * 64}}
    spec = lab.spec(students=_students(MLP, init=init))
    refused = _refusal(lab.assignment("prepare", spec=spec))
    assert refused.rejected_code == "init_weights_missing"
    assert refused.field == "students.0.init.weights"


def test_a_teacher_that_is_not_what_it_is_known_to_be_is_refused(lab: Lab) -> None:
    found = _make(lab.assignment("prepare"))["teachers"][TEACHER]["validation"]["accuracy"]

    def expecting(accuracy: float, kind: str = "prepare") -> Assignment:
        expect = {"validation_accuracy": accuracy, "tolerance": 0.05}
        return lab.assignment(kind, spec=lab.spec(teachers=[{"id": TEACHER, "expect": expect}]))

    _make(expecting(found + 0.04))
    refused = _refusal(expecting(found + 0.06))
    assert refused.rejected_code == "teacher_not_as_expected"
    assert refused.field == "teachers.0.expect"
    assert f"{found:.4f}" in refused.detail
    _make(expecting(found + 0.06, kind="estimate"))  # It runs no teacher over the data.


@pytest.mark.parametrize("kind", ["prepare", "estimate"])
def test_a_teacher_known_by_its_outputs_is_judged_by_them_and_costs_nothing(
    lab: Lab, kind: str
) -> None:
    rows = np.concatenate([np.arange(130), np.arange(200, 260)])
    labels = load_digits().target[rows]
    labels[:13] = (labels[:13] + 1) % 10
    path = lab.folder / "outputs.npz"
    np.savez(path, outputs=10 * np.eye(10, dtype=np.float32)[labels], rows=rows)
    known = lab.teacher() | {"weights": None, "outputs": str(path), "outputs_kind": "logits"}
    result = _make(lab.assignment(kind, teachers=[known]))
    figures = result["teachers"][TEACHER]
    assert figures["train"]["accuracy"] == pytest.approx(0.9)
    assert figures["validation"]["accuracy"] == 1
    assert (figures["parameters"], figures["item_seconds"]) == (None, 0)
    assert result["teacher_forwards"] == 0


def test_every_variant_is_checked_and_the_first_one_measured(lab: Lab) -> None:
    def variant(name: str, **changes: Any) -> dict[str, Any]:
        return {"name": name, "changes": {}, "spec": lab.spec(**changes)}

    fine = [variant("v1"), variant("v2", training={"batch_size": 16})]
    result = _make(lab.assignment("prepare", variants=fine))
    assert list(result["students"]) == ["small"]
    assert result["networks"] == {}
    wrong = [*fine, variant("v3", training={"batch_size": 131})]
    assert _refusal(lab.assignment("prepare", variants=wrong)).rejected_code == (
        "batch_larger_than_data"
    )
    wrong = [*fine, variant("v3", objective=[{"kind": "review"}])]
    assert _refusal(lab.assignment("prepare", variants=wrong)).rejected_code == "needs_stage_maps"


def test_a_pull_from_random_weights_warns(lab: Lab) -> None:
    terms = [{"kind": "labels"}, {"kind": "parameter_ratio"}]
    result = _make(lab.assignment("prepare", spec=lab.spec(objective=terms)))
    assert [warning["code"] for warning in result["warnings"]] == ["pull_from_random"]
    tied = lab.spec(objective=terms, students=_students(MLP, init={"kind": "from_teacher"}))
    assert _make(lab.assignment("prepare", spec=tied))["warnings"] == []
    assert _make(lab.assignment("prepare"))["warnings"] == []


def test_self_distillation_needs_no_teacher(lab: Lab) -> None:
    spec = lab.spec(teachers=[{"self": {"rounds": 2}}])
    result = _make(lab.assignment("prepare", spec=spec, teachers=[]))
    assert result["teachers"] == {}


def test_a_student_that_is_its_teacher_made_smaller_gets_a_network(lab: Lab) -> None:
    half = {"name": "half", "shrink": {"width": 0.5}, "input": INPUT}
    result = _make(lab.assignment("prepare", spec=lab.spec(students=[half])))
    network = result["networks"][""]["half"]
    assert network == result["students"]["half"]["network"]
    assert network["options"]["hidden"] == [12]
    assert result["students"]["half"]["parameters"] == 64 * 12 + 12 + 12 * 10 + 10
    alone = lab.spec(students=[half], teachers=[{"self": {}}])
    refused = _refusal(lab.assignment("prepare", spec=alone, teachers=[]))
    assert (refused.rejected_code, refused.field) == ("needs_teacher_weights", "students.0.shrink")


def _texts(lab: Lab, **changes: Any) -> Assignment:
    """A job on texts of ten words, whose student knows `words` of them."""
    sentences = [f"word{row % 10} word{row % 7}".encode() for row in range(60)]
    arrays: dict[str, Any] = {
        "x": np.frombuffer(b"".join(sentences), np.uint8),
        "ends": np.cumsum([len(text) for text in sentences]).astype(np.int64),
        "y": np.arange(60, dtype=np.int64) % 10,
        "rows": np.arange(60, dtype=np.int64),
    }
    path = lab.folder / "texts.npz"
    np.savez(path, **arrays)
    words = Tokenizer(WordLevel({f"word{n}": n for n in range(10)}, unk_token="word0"))
    words.pre_tokenizer = Whitespace()
    words.save(str(lab.folder / "tokenizer.json"))
    sizes = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    options = sizes | {"intermediate_size": 8, "vocab_size": changes.pop("words", 10)}
    student = {
        "name": "s",
        "network": {"family": "transformers", "name": "bert", "options": options},
        "input": {"modality": "text", "max_length": 4, "tokenizer": {"tokenizer.json": "a" * 64}},
    }
    training = {"augment": [], "views": 1, "deterministic": False} | changes
    spec = lab.spec(students=[student], teachers=[{"self": {}}], training=training)
    assignment = lab.assignment("prepare", spec=spec, teachers=[])
    assignment["dataset"]["parts"] = {"train": str(path), "validation": str(path)}
    return {**assignment, "files": {"a" * 64: str(lab.folder / "tokenizer.json")}}


def test_a_network_that_knows_too_few_words_is_refused(lab: Lab) -> None:
    assert _make(_texts(lab))["students"]["s"]["step_seconds"] > 0
    refused = _refusal(_texts(lab, words=9))
    assert refused.rejected_code == "tokenizer_mismatch"
    assert refused.field == "students.0.network.options.vocab_size"


def test_texts_are_not_cropped(lab: Lab) -> None:
    refused = _refusal(_texts(lab, augment=[{"kind": "crop"}]))
    assert refused.rejected_code == "augment_not_for_modality"
    assert refused.field == "training.augment.0"
