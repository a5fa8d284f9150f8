from __future__ import annotations

import math

import pytest
import torch

from stillhouse.errors import InputRejected
from stillhouse.spec import Correlation, Labels, ParameterRatio, SoftTargets, VirtualTeacher
from stillhouse.spec.methods import METHODS
from tests.worker.conftest import MLP, RESNET, Lab
from tests.worker.engine.terms import lesson
from tests.worker.engine.terms.lesson import Lesson
from worker.engine import objective
from worker.engine.losses import labels as labels_loss
from worker.engine.losses import soft_targets

LABELS = Labels(kind="labels", weight=0.1, label_smoothing=0.2)
SOFT = SoftTargets(kind="soft_targets", weight=0.9, temperature=3)
BOTH = [term.model_dump(mode="json") for term in (SOFT, LABELS)]
BANK = {"kind": "contrastive", "dimensions": 8}


def test_what_is_logged_is_what_was_summed(lab: Lab) -> None:
    given = lesson.begin(lab, *BOTH, network=MLP)
    batch = given.batch()
    loss = given.objective(batch)
    assert set(loss.shares) == {"loss.soft_targets", "loss.labels"}
    assert sum(loss.shares.values()) == pytest.approx(loss.total.item())
    soft = 0.9 * soft_targets.loss(batch.logits, batch.told.logits, temperature=3)
    hard = 0.1 * labels_loss.loss(batch.logits, batch.shown.labels, label_smoothing=0.2)
    assert loss.shares["loss.soft_targets"].item() == pytest.approx(soft.item())
    assert loss.shares["loss.labels"].item() == pytest.approx(hard.item())


def test_terms_of_one_kind_share_a_name(lab: Lab) -> None:
    cold = BOTH[0] | {"weight": 0.5, "temperature": 1}
    given = lesson.begin(lab, BOTH[0], cold, network=MLP)
    batch = given.batch()
    loss = given.objective(batch)
    assert list(loss.shares) == ["loss.soft_targets"]
    both = sum(
        weight * soft_targets.loss(batch.logits, batch.told.logits, temperature=temperature).item()
        for weight, temperature in ((0.9, 3), (0.5, 1))
    )
    assert loss.shares["loss.soft_targets"].item() == loss.total.item() == pytest.approx(both)


def test_the_control_learns_from_labels_at_weight_one_as_the_job_takes_them() -> None:
    weighted = LABELS.model_copy(update={"class_weights": "balanced"})
    assert objective.for_arm((SOFT, weighted), "no_teacher") == (
        Labels(kind="labels", weight=1.0, label_smoothing=0.2, class_weights="balanced"),
    )
    assert objective.for_arm((SOFT,), "no_teacher") == (Labels(kind="labels", weight=1.0),)
    assert objective.for_arm((SOFT, LABELS), "distilled") == (SOFT, LABELS)


def test_only_what_has_a_weight_asks_something_of_the_teacher(lab: Lab) -> None:
    pull = ParameterRatio(kind="parameter_ratio")
    assert objective.needs_teacher((SOFT, LABELS))
    assert objective.needs_outputs((SOFT, pull))
    assert objective.needs_teacher((pull, LABELS))
    assert not objective.needs_outputs((pull, LABELS))
    none = SOFT.model_copy(update={"weight": 0.0})
    assert not objective.needs_teacher((none, LABELS, VirtualTeacher(kind="virtual_teacher")))
    given = lesson.begin(lab, BOTH[0] | {"weight": 0}, BOTH[1], network=MLP)
    assert given.course.teacher is None
    assert list(given.objective(given.batch()).shares) == ["loss.labels"]


def test_standardizing_two_classes_is_refused() -> None:
    terms = (LABELS, SOFT.model_copy(update={"standardize": True}))
    objective.check(terms, classes=3)
    with pytest.raises(InputRejected) as refused:
        objective.check(terms, classes=2)
    assert refused.value.rejected_code == "needs_three_classes"
    assert refused.value.field == "objective.1.standardize"
    idle = terms[1].model_copy(update={"weight": 0.0})
    objective.check((LABELS, idle), classes=2, batch_size=1)


def test_batches_that_are_all_too_small_are_refused() -> None:
    terms = (LABELS, Correlation(kind="correlation"))
    objective.check(terms, classes=10, batch_size=3)
    with pytest.raises(InputRejected) as refused:
        objective.check(terms, classes=10, batch_size=2)
    assert refused.value.rejected_code == "batch_too_small"
    assert refused.value.field == "objective.1.kind"


def test_accumulation_may_leave_too_few_items_for_a_term(lab: Lab) -> None:
    with pytest.raises(InputRejected, match="accumulate"):
        lesson.begin(lab, {"kind": "relations"}, training={"batch_size": 8, "accumulate": 4})


def test_a_single_item_left_over_is_no_error(lab: Lab) -> None:
    hint = {"kind": "feature_hint"}
    given = lesson.begin(lab, hint, {"kind": "relations"}, BOTH[1], network=RESNET)
    loss = given.objective(given.batch(torch.tensor([3])))
    assert loss.shares["loss.feature_hint"] == 0
    assert loss.shares["loss.relations"] == 0
    assert loss.total.item() > 0
    loss.total.backward()


def _norms(given: Lesson) -> list[float]:
    """Of each term's gradient, with its weight and scale."""
    network, found = given.network, []
    for spec, scale, value in zip(
        given.objective.specs,
        given.objective.scales,
        given.objective.values(given.batch()),
        strict=True,
    ):
        gradients = torch.autograd.grad(
            spec.weight * scale * value,
            list(network.parameters()),
            retain_graph=True,
            allow_unused=True,
        )
        found.append(math.sqrt(sum(float(g.square().sum()) for g in gradients if g is not None)))
    return found


def test_balanced_terms_begin_with_gradients_in_the_ratio_of_their_weights(lab: Lab) -> None:
    terms = (
        BOTH[0] | {"weight": 2.0},
        {"kind": "similarity", "weight": 1.0},
        BOTH[1] | {"weight": 0.5},
    )
    given = lesson.begin(lab, *terms)
    before = _norms(given)
    assert before[0] / before[1] != pytest.approx(2, rel=0.1)
    factors = given.objective.balance(given.batch(), given.network.parameters())
    assert list(factors) == ["scale.0.soft_targets", "scale.1.similarity", "scale.2.labels"]
    assert factors["scale.0.soft_targets"] == 1
    after = _norms(given)
    assert after[0] == pytest.approx(before[0])
    assert after[0] / after[1] == pytest.approx(2, rel=1e-3)
    assert after[0] / after[2] == pytest.approx(4, rel=1e-3)
    assert torch.equal(given.objective.state_dict()["scales"], given.objective.scales)


def test_a_term_without_a_gradient_keeps_its_scale(lab: Lab) -> None:
    given = lesson.begin(lab, BOTH[0], {"kind": "labels"}, network=MLP)
    unlabelled = torch.full_like(given.course.labels, -1)
    given.course.labels.copy_(unlabelled)
    factors = given.objective.balance(given.batch(), given.network.parameters())
    assert factors["scale.1.labels"] == 1


def test_an_objective_with_a_memory_comes_back_from_its_tensors(lab: Lab) -> None:
    given = lesson.begin(lab, BANK, {"kind": "feature_hint"})
    given.learn(steps=2)
    kept = {name: tensor.clone() for name, tensor in given.objective.state_dict().items()}
    other = lesson.begin(lab, BANK, {"kind": "feature_hint"}, seed=5)
    assert not torch.equal(
        other.objective.state_dict()["terms.0.of_teacher.bank"], kept["terms.0.of_teacher.bank"]
    )
    other.objective.load_state_dict(kept)
    assert all(torch.equal(t, kept[name]) for name, t in other.objective.state_dict().items())
    other.network.load_state_dict(given.network.state_dict())
    torch.manual_seed(0)
    ours = given.objective(given.batch()).total
    torch.manual_seed(0)
    assert other.objective(other.batch()).total == ours


def test_what_terms_learn_begins_at_the_runs_seed_alone(lab: Lab) -> None:
    torch.manual_seed(1)
    one = lesson.begin(lab, BANK, {"kind": "review"}).objective.state_dict()
    torch.manual_seed(2)
    same = lesson.begin(lab, BANK, {"kind": "review"}).objective.state_dict()
    other = lesson.begin(lab, BANK, {"kind": "review"}, seed=1).objective.state_dict()
    assert all(
        torch.equal(tensor, same[name]) for name, tensor in one.items() if "log_mean" not in name
    )
    assert not torch.equal(one["terms.0.of_student.bank"], other["terms.0.of_student.bank"])


def test_building_leaves_the_generator_alone(lab: Lab) -> None:
    given = lesson.begin(lab, BANK)
    torch.manual_seed(3)
    expected = torch.rand(1)
    torch.manual_seed(3)
    given.course.objective(given.network, given.student)
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("kind", [method.kind for method in METHODS])
def test_every_method_has_a_term(lab: Lab, kind: str) -> None:
    given = lesson.begin(lab, {"kind": kind}, network=RESNET)
    loss = given.objective(given.batch())
    assert torch.isfinite(loss.total)
    assert set(loss.shares) == {f"loss.{kind}"}
