from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from stillhouse.errors import InputRejected
from tests.worker.conftest import CPU, MLP, RESNET, TEACHER, Lab
from tests.worker.engine.terms import lesson
from worker.engine import cautions, teacher
from worker.engine.data import parts
from worker.protocol import TeacherFiles

OTHER = "tch_" + "o" * 26
SOFT = {"kind": "soft_targets"}
HARD = {"kind": "hard_targets"}
TWO = [{"id": TEACHER, "weight": 3.0}, {"id": OTHER, "weight": 1.0}]


def _two(lab: Lab) -> list[TeacherFiles]:
    return [lab.teacher(RESNET), lab.teacher(MLP, seed=2, id=OTHER)]


def _begin(lab: Lab, combine: str, *terms: dict[str, Any], **changes: Any) -> lesson.Lesson:
    spec = {"teachers": TWO, "combine": combine}
    return lesson.begin(lab, *terms, network=MLP, spec=spec, teachers=_two(lab), **changes)


def _each(lab: Lab, given: lesson.Lesson) -> tuple[Tensor, Tensor]:
    items = given.course.feed(given.batch().shown.items)
    first, second = (teacher.load(files, classes=10, device=CPU).network for files in _two(lab))
    return first(items), second(items)


def test_probabilities_are_averaged_by_weight(lab: Lab) -> None:
    given = _begin(lab, "probabilities", SOFT)
    first, second = (logits.softmax(dim=1) for logits in _each(lab, given))
    told = given.batch().told.logits
    assert torch.allclose(told.softmax(dim=1), 0.75 * first + 0.25 * second, atol=1e-6)
    assert torch.allclose(told.exp().sum(dim=1), torch.ones(len(told)), atol=1e-5)


def test_logits_are_averaged_by_weight(lab: Lab) -> None:
    given = _begin(lab, "logits", SOFT)
    first, second = _each(lab, given)
    assert torch.allclose(given.batch().told.logits, 0.75 * first + 0.25 * second, atol=1e-5)


def test_activations_are_the_first_teachers_and_all_forwards_count(lab: Lab) -> None:
    layer = {"student": "body", "teacher": "layer3"}
    given = _begin(lab, "probabilities", SOFT, {"kind": "feature_hint", "layer": layer})
    outputs = given.course.teacher
    assert outputs is not None
    assert outputs.forwards == 2 * 130
    assert given.batch().told.features["layer3"].shape == (32, 64, 2, 2)
    outputs.open_view(0, pulse=lambda: None)
    assert outputs.hits == 2 * 130


def _outputs(
    lab: Lab, tmp_path: Path, *, rows: slice = slice(None), **changes: Any
) -> TeacherFiles:
    """A teacher that is known by what the lab's network says of train and validation rows."""
    files = lab.teacher(RESNET)
    loaded = teacher.load(files, classes=10, device=CPU)
    found = [parts.open_part(lab.parts()[name]) for name in ("train", "validation")]
    items = torch.from_numpy(np.concatenate([part.x for part in found]))
    numbers = np.concatenate([part.rows for part in found])
    with torch.no_grad():
        logits = loaded.network(loaded.feed(items)).numpy()
    shuffled = np.random.default_rng(0).permutation(len(numbers))
    path = tmp_path / "outputs.npz"
    np.savez(path, outputs=logits[shuffled][rows], rows=numbers[shuffled][rows])
    known = {"weights": None, "outputs": str(path), "outputs_kind": "logits"}
    return files | known | changes  # type: ignore[return-value]  # a TypedDict's union is a dict


def test_recorded_outputs_teach_as_their_network_does(lab: Lab, tmp_path: Path) -> None:
    files = _outputs(lab, tmp_path)
    recorded = lesson.begin(lab, SOFT, network=MLP, teachers=[files])
    asked = lesson.begin(lab, SOFT, network=MLP, teacher=RESNET)
    told, by_network = recorded.batch().told, asked.batch().told
    assert torch.allclose(told.logits, by_network.logits, atol=1e-5)
    torch.manual_seed(0)  # the student drops activations out
    losses = recorded.learn(steps=3)
    torch.manual_seed(0)
    assert losses == pytest.approx(asked.learn(steps=3), rel=1e-3)
    outputs = recorded.course.teacher
    assert outputs is not None
    assert (outputs.forwards, outputs.hits) == (0, 130)


def test_recorded_outputs_stand_in_the_class_order_of_the_dataset(lab: Lab, tmp_path: Path) -> None:
    order = [3, 1, 2, 0, 9, 8, 7, 6, 5, 4]
    plain = lesson.begin(lab, SOFT, teachers=[_outputs(lab, tmp_path)]).batch().told.logits
    turned = lesson.begin(lab, SOFT, teachers=[_outputs(lab, tmp_path, class_order=order)])
    assert torch.equal(turned.batch().told.logits, plain[:, order])


def test_a_network_and_recorded_outputs_are_averaged_too(lab: Lab, tmp_path: Path) -> None:
    both = [lab.teacher(MLP, seed=2), _outputs(lab, tmp_path, id=OTHER)]
    given = lesson.begin(
        lab, SOFT, network=MLP, spec={"teachers": TWO, "combine": "logits"}, teachers=both
    )
    items = given.course.feed(given.batch().shown.items)
    first = teacher.load(both[0], classes=10, device=CPU).network(items)
    second = teacher.load(lab.teacher(RESNET), classes=10, device=CPU).network(items)
    assert torch.allclose(given.batch().told.logits, 0.75 * first + 0.25 * second, atol=1e-5)


def _refusal(lab: Lab, *terms: dict[str, Any], **changes: Any) -> tuple[str, str | None]:
    with pytest.raises(InputRejected) as refused:
        lesson.begin(lab, *terms, network=MLP, **changes)
    return refused.value.rejected_code, refused.value.field


def test_a_row_without_recorded_outputs_is_refused(lab: Lab, tmp_path: Path) -> None:
    files = _outputs(lab, tmp_path, rows=slice(100))
    assert _refusal(lab, SOFT, teachers=[files]) == ("outputs_rows_differ", "teachers.0")


def test_outputs_have_no_inside(lab: Lab, tmp_path: Path) -> None:
    files = [_outputs(lab, tmp_path)]
    for kind in ("similarity", "contrastive", "review", "parameter_ratio"):
        found = _refusal(lab, SOFT, {"kind": kind}, teachers=files)
        assert found == ("needs_features", "objective.1.kind")


def test_class_names_alone_are_no_logits(lab: Lab, tmp_path: Path) -> None:
    files = [_outputs(lab, tmp_path, outputs_kind="labels")]
    assert _refusal(lab, HARD, SOFT, teachers=files) == (
        "teacher_has_no_logits",
        "objective.1.kind",
    )
    assert lesson.begin(lab, HARD, network=MLP, teachers=files).learn(steps=2)


def test_nothing_is_known_of_blended_rows_and_of_other_datasets(lab: Lab, tmp_path: Path) -> None:
    files = [_outputs(lab, tmp_path)]
    mixup = {"augment": [{"kind": "mixup"}]}
    assert _refusal(lab, SOFT, teachers=files, training=mixup)[0] == "outputs_not_of_mixes"
    transfer = [lab.assignment()["dataset"] | {"parts": lab.parts()}]
    assert _refusal(lab, SOFT, teachers=files, transfer=transfer)[0] == "outputs_not_of_transfer"


def test_recorded_outputs_of_rows_that_are_augmented_warn(lab: Lab, tmp_path: Path) -> None:
    files = [_outputs(lab, tmp_path)]
    plain = lesson.begin(lab, SOFT, teachers=files)
    assert cautions.of_course(plain.course, plain.student) == []
    flipped = lesson.begin(lab, SOFT, teachers=files, training={"augment": [{"kind": "flip"}]})
    (found,) = cautions.of_course(flipped.course, flipped.student)
    assert found["code"] == "outputs_of_plain_items"


def test_a_map_of_classes_must_name_outputs_that_there_are(lab: Lab, tmp_path: Path) -> None:
    wrong = [3, 1, 2, 0, 9, 8, 7, 6, 5, 10]
    for files in (lab.teacher(class_order=wrong), _outputs(lab, tmp_path, class_order=wrong)):
        found = _refusal(lab, SOFT, teachers=[files])
        assert found == ("class_map_invalid", "teachers.0.class_map")
