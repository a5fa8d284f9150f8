from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from stillhouse.errors import InputRejected
from stillhouse.spec import TextInput
from tests.worker.conftest import CPU, MLP, RESNET, Lab
from tests.worker.engine.terms import lesson
from worker.engine import panel, step, teacher_outputs
from worker.engine.batch import Shown
from worker.engine.course import Course
from worker.engine.data import feed, parts
from worker.engine.teacher import Teacher
from worker.protocol import DatasetFiles

SOFT = {"kind": "soft_targets"}
LABELS = {"kind": "labels"}


def _transfer(lab: Lab, *, rows: tuple[int, int] = (400, 450)) -> list[DatasetFiles]:
    found = lab.assignment()["dataset"]
    return [{**found, "parts": {"train": str(lab.part("transfer", rows=rows))}}]


def test_transfer_rows_follow_those_of_the_dataset_without_labels(lab: Lab) -> None:
    alone = lesson.begin(lab, SOFT, LABELS).course
    course = lesson.begin(lab, SOFT, LABELS, transfer=_transfer(lab)).course
    assert len(course.source) == 130 + 50
    assert torch.equal(course.labels[:130], alone.labels)
    assert torch.equal(course.labels[130:], torch.full((50,), -1))
    assert course.steps > alone.steps
    both = course.source.take(torch.tensor([131, 5]))
    part = parts.open_part(_transfer(lab)[0]["parts"]["train"])
    assert torch.equal(both[0], torch.from_numpy(part.x[1].copy()))
    assert torch.equal(both[1], alone.source.take(torch.tensor([5]))[0])


def test_the_control_takes_the_same_steps_over_transfer_rows(lab: Lab) -> None:
    taught = lesson.begin(lab, SOFT, LABELS, transfer=_transfer(lab)).course
    control = lesson.begin(lab, SOFT, LABELS, transfer=_transfer(lab), arm="no_teacher")
    assert control.course.steps == taught.steps
    assert torch.equal(control.course.labels, taught.labels)
    loss = control.objective(control.batch(torch.arange(130, 150)))
    assert loss.total == 0
    mixed = control.objective(control.batch(torch.arange(120, 140)))
    labelled = control.objective(control.batch(torch.arange(120, 130)))
    assert mixed.total.item() == pytest.approx(labelled.total.item(), rel=0.2)


def test_the_teacher_speaks_of_transfer_rows(lab: Lab) -> None:
    given = lesson.begin(lab, SOFT, LABELS, transfer=_transfer(lab))
    batch = given.batch(torch.arange(140, 160))
    loss = given.objective(batch)
    assert loss.shares["loss.labels"] == 0
    assert loss.shares["loss.soft_targets"] > 0


def test_transfer_items_of_another_shape_are_refused(lab: Lab, tmp_path: Path) -> None:
    path = tmp_path / "large.npz"
    none = np.zeros(3, np.int64)
    np.savez(path, x=np.zeros((3, 9, 9, 1), np.uint8), y=none, rows=none)
    files = _transfer(lab)
    files[0]["parts"]["train"] = str(path)
    with pytest.raises(InputRejected) as refused:
        lesson.begin(lab, LABELS, transfer=files)
    assert refused.value.rejected_code == "transfer_differs"


def test_rows_without_any_label_have_nothing_for_a_term_of_labels(lab: Lab) -> None:
    given = lesson.begin(lab, SOFT, LABELS)
    none = replace(given.course, labels=torch.full_like(given.course.labels, -1))
    with pytest.raises(InputRejected) as refused:
        none.objective(given.network, given.student)
    assert refused.value.rejected_code == "labels_missing"
    assert refused.value.field == "objective.1.kind"


def test_the_pull_alone_asks_a_teacher_nothing(lab: Lab) -> None:
    given = lesson.begin(lab, {"kind": "parameter_ratio"}, LABELS, network=RESNET)
    assert given.course.panel is not None
    assert given.course.teacher is None
    assert given.objective(given.batch()).shares["loss.parameter_ratio"] > 0


def _views(course: Course) -> dict[int, Any]:
    assert course.teacher is not None
    return course.teacher._views


def test_activations_are_remembered_with_the_logits_where_they_fit(lab: Lab) -> None:
    hint = {"kind": "feature_hint", "layer": {"student": "layer2", "teacher": "layer2"}}
    given = lesson.begin(lab, SOFT, hint)
    (told,) = _views(given.course).values()
    assert told.features["layer2"].shape == (130, 32, 4, 4)
    remembered = given.batch().told
    assert given.course.teacher is not None
    given.course.teacher.remembers = False
    anew = given.batch().told
    assert torch.allclose(remembered.logits, anew.logits, atol=1e-5)
    assert torch.allclose(remembered.features["layer2"], anew.features["layer2"], atol=1e-4)


def test_activations_that_do_not_fit_are_computed_for_each_batch(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Logits of 130 rows and ten classes take 5,200 bytes, the maps 270,000.
    monkeypatch.setattr(teacher_outputs, "MAX_REMEMBERED_BYTES", 10_000)
    hint = {"kind": "feature_hint", "layer": {"student": "layer2", "teacher": "layer2"}}
    assert _views(lesson.begin(lab, SOFT).course)
    given = lesson.begin(lab, SOFT, hint)
    assert not _views(given.course)
    assert given.batch().told.features["layer2"].shape == (32, 32, 4, 4)


def test_the_teacher_sees_blended_items(lab: Lab) -> None:
    mixup = {"augment": [{"kind": "mixup", "alpha": 1.0}]}
    given = lesson.begin(lab, SOFT, network=MLP, training=mixup)
    shown = step.show(given.course, lesson.ROWS, view=0)
    assert shown.mix is not None
    assert given.course.panel is not None
    inside = given.course.panel.inside
    assert inside is not None
    asked = inside.network(inside.feed(shown.items))
    assert torch.allclose(given.batch().told.logits, asked, atol=1e-4)


def _tokenizer(folder: Path, name: str, words: list[str]) -> tuple[str, str]:
    made = Tokenizer(WordLevel({word: place for place, word in enumerate(words)}, "unknown"))
    made.pre_tokenizer = Whitespace()
    path = folder / f"{name}.json"
    path.write_text(json.dumps(json.loads(made.to_str())))
    return name * 64, str(path)


class Ids(torch.nn.Module):
    """Puts out the first token's number and the last one's."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x[:, [0, -1]].float()


def test_a_text_teacher_reads_its_own_tokens(lab: Lab, tmp_path: Path) -> None:
    words = ["unknown", "an", "apple", "a", "pear"]
    ours = _tokenizer(tmp_path, "a", words)
    theirs = _tokenizer(tmp_path, "b", ["unknown", *reversed(words[1:])])
    files = dict([ours, theirs])
    student = TextInput(modality="text", max_length=3, tokenizer={"tokenizer.json": ours[0]})
    other = TextInput(modality="text", max_length=2, tokenizer={"tokenizer.json": theirs[0]})
    texts = [b"an apple", b"a pear"]
    part = parts.Part(
        x=np.frombuffer(b"".join(texts), np.uint8),
        labels=np.array([0, 1]),
        rows=np.array([0, 1]),
        ends=np.cumsum([len(text) for text in texts]),
    )
    made = feed.make(other, device=CPU, files=files)
    taught = Teacher("t", Ids(), made, other, spec=lesson.begin(lab, LABELS).student.network)  # type: ignore[arg-type]  # the lab's student has a network
    source = feed.make(student, device=CPU, files=files).place(part, device=CPU)
    outputs = teacher_outputs.begin(
        panel.of_teacher(taught),
        source,
        recipe=lesson.begin(lab, LABELS).course.recipe,
        classes=2,
        own=[made.place(part, device=CPU)],
    )
    outputs.open_view(0, pulse=lambda: None)
    index = torch.tensor([1, 0])
    shown = Shown(source.take(index), index, torch.tensor([1, 0]))
    assert shown.items.tolist() == [[3, 4, -1], [1, 2, -1]]
    assert outputs.take(shown, view=0).logits.tolist() == [[2, 1], [4, 3]]
