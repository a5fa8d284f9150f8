from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from tests.worker.conftest import Lab
from worker.engine import teacher_outputs
from worker.engine.batch import Shown
from worker.engine.course import Course
from worker.engine.data import views
from worker.engine.teacher import Teacher
from worker.engine.teacher_outputs import TeacherOutputs


def _outputs(course: Course) -> TeacherOutputs:
    assert course.teacher is not None
    return course.teacher


def _teacher(course: Course) -> Teacher:
    assert course.panel is not None
    assert course.panel.inside is not None
    return course.panel.inside


def _shown(course: Course, index: Tensor, *, view: int) -> Shown:
    recipe = course.recipe
    shown = views.show(
        course.source, index, augment=recipe.augment, seed=recipe.view_seed, view=view
    )
    return Shown(shown.items, index, course.labels[index])


def _nothing() -> None:
    pass


INDEX = torch.tensor([90, 3, 41])
NOTHING_SHOWN = Shown(torch.zeros(0), INDEX, torch.zeros(3, dtype=torch.int64))


def test_a_remembered_output_is_the_teachers_for_that_view(lab: Lab) -> None:
    course = lab.course()
    outputs = _outputs(course)
    outputs.open_view(1, pulse=_nothing)
    found = outputs.take(NOTHING_SHOWN, view=1).logits
    teacher = _teacher(course)
    asked = teacher.network(teacher.feed(_shown(course, INDEX, view=1).items))
    other = teacher.network(teacher.feed(_shown(course, INDEX, view=0).items))
    assert torch.allclose(found, asked, atol=1e-5)
    assert not torch.allclose(found, other, atol=1e-2)


def test_a_view_is_paid_for_once(lab: Lab) -> None:
    outputs = _outputs(lab.course())
    outputs.open_view(0, pulse=_nothing)
    assert (outputs.forwards, outputs.hits) == (130, 0)
    outputs.open_view(0, pulse=_nothing)
    assert (outputs.forwards, outputs.hits) == (130, 130)
    outputs.open_view(1, pulse=_nothing)
    assert (outputs.forwards, outputs.hits) == (260, 130)


def test_fresh_views_are_asked_for_batch_by_batch(lab: Lab) -> None:
    course = lab.course(training={"views": "fresh"})
    outputs = _outputs(course)
    outputs.open_view(0, pulse=_nothing)
    assert outputs.forwards == 0
    outputs.take(_shown(course, INDEX, view=0), view=0)
    assert (outputs.forwards, outputs.hits) == (3, 0)


def test_without_augmentation_all_epochs_are_one_view(lab: Lab) -> None:
    assert _outputs(lab.course(training={"views": "fresh", "augment": []})).remembers


def test_more_than_the_memory_allows_is_not_remembered(lab: Lab) -> None:
    course = lab.course()
    asked = _outputs(course).panel
    # 130 rows of ten classes: 100,000 views are 520 MB.
    many = replace(course.recipe, views=100_000, epochs=100_000)
    assert not teacher_outputs.begin(asked, course.source, recipe=many, classes=10).remembers
    few = replace(course.recipe, views=100_000, epochs=10_000)
    assert teacher_outputs.begin(asked, course.source, recipe=few, classes=10).remembers


def test_a_pulse_may_stop_the_teacher(lab: Lab) -> None:
    class Enough(Exception): ...

    def stop() -> None:
        raise Enough

    outputs = _outputs(lab.course())
    with pytest.raises(Enough):
        outputs.open_view(0, pulse=stop)
    outputs.open_view(0, pulse=_nothing)
    assert outputs.take(NOTHING_SHOWN, view=0).logits.shape == (3, 10)
