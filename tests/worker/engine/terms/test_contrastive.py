from __future__ import annotations

import pytest
import torch

from stillhouse.errors import InputRejected
from tests.worker.conftest import Lab
from tests.worker.engine.terms import lesson
from worker.engine.losses import contrastive, directions
from worker.engine.terms import projectors
from worker.engine.terms.contrastive import ContrastiveTerm

SPEC = {"kind": "contrastive", "dimensions": 8}


def _term(given: lesson.Lesson) -> ContrastiveTerm:
    (term,) = given.objective.parts
    assert isinstance(term, ContrastiveTerm)
    return term


def test_the_value_is_that_of_negatives_gathered_item_by_item(lab: Lab) -> None:
    given = lesson.begin(lab, SPEC)
    term, batch = _term(given), given.batch(torch.arange(6))
    student, teacher = term.read(batch)[0]
    ours = directions.unit(term.embed_student(projectors.pool(student)), dim=1)
    theirs = directions.unit(term.embed_teacher(projectors.pool(teacher)), dim=1)
    labels, total = given.course.labels, torch.zeros(())
    banks = term.of_teacher.bank.clone(), term.of_student.bank.clone()
    found = term(batch)
    memories = (term.of_teacher.log_mean, term.of_student.log_mean)
    for anchor, bank, log_mean in zip((ours, theirs), banks, memories, strict=True):
        for row in range(6):
            others = bank[labels != labels[row]].unsqueeze(0)
            total = total + contrastive.loss(
                anchor[row : row + 1],
                bank[row : row + 1],
                others,
                temperature=0.07,
                log_mean=log_mean,
            )
    assert found.item() == pytest.approx(total.item() / 6, rel=1e-4)


def test_a_batch_moves_its_own_rows_of_both_memories(lab: Lab) -> None:
    given = lesson.begin(lab, SPEC)
    term = _term(given)
    before = term.of_student.bank.clone()
    batch = given.batch(torch.tensor([4, 90]))
    embedded = directions.unit(
        term.embed_student(projectors.pool(term.read(batch)[0][0])), dim=1
    ).detach()
    term(batch)
    after = term.of_student.bank
    moved = (after != before).any(dim=1).nonzero().flatten()
    assert moved.tolist() == [4, 90]
    half = directions.unit(0.5 * before[[4, 90]] + 0.5 * embedded, dim=1)
    assert torch.allclose(after[[4, 90]], half, atol=1e-6)


def test_few_negatives_are_drawn_anew_each_time(lab: Lab) -> None:
    term = _term(lesson.begin(lab, SPEC | {"negatives": 10}))
    drawn = term._draw()
    assert 10 < len(drawn) < 15  # so that even the largest class is left with ten
    assert not torch.equal(drawn, term._draw())


def test_the_scale_of_the_first_batch_is_kept(lab: Lab) -> None:
    given = lesson.begin(lab, SPEC)
    term = _term(given)
    assert term.of_teacher.log_mean.isnan()
    term(given.batch())
    first = term.of_teacher.log_mean.clone()
    term(given.batch(torch.arange(40, 60)))
    assert torch.equal(term.of_teacher.log_mean, first)


def test_rows_of_a_single_class_are_refused(lab: Lab) -> None:
    given = lesson.begin(lab, SPEC)
    given.course.labels.fill_(3)
    with pytest.raises(InputRejected) as refused:
        given.course.objective(given.network, given.student)
    assert refused.value.rejected_code == "needs_two_classes"


def test_blended_rows_are_refused(lab: Lab) -> None:
    with pytest.raises(InputRejected) as refused:
        lesson.begin(lab, SPEC, training={"augment": [{"kind": "mixup"}]})
    assert refused.value.rejected_code == "contrastive_with_mixes"
