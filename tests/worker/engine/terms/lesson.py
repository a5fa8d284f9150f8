"""A student and a teacher over one batch of digits: what every term is tried on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from stillhouse.spec import ResolvedJob, StudentSpec
from tests.worker.conftest import CPU, INPUT, RESNET, Lab
from worker.engine import course as courses
from worker.engine import features, step, trial
from worker.engine.batch import Batch
from worker.engine.course import Course
from worker.engine.objective import Objective

ROWS = torch.arange(32)


@dataclass
class Lesson:
    course: Course
    student: StudentSpec
    network: nn.Module
    objective: Objective

    def batch(self, rows: torch.Tensor = ROWS) -> Batch:
        shown = step.show(self.course, rows, view=0)
        told = self.course.teacher.take(shown, view=0) if self.course.teacher else None
        with features.capture(self.network, self.objective.student_layers) as seen:
            logits = self.network(self.course.feed(shown.items))
        return Batch(shown, logits, seen, self.network, told)

    def learn(self, *, steps: int, lr: float = 0.01) -> list[float]:
        """The loss of one batch before each step, and after the last."""
        parameters = [*self.network.parameters(), *self.objective.parameters()]
        optimizer = torch.optim.Adam(parameters, lr=lr)
        losses: list[float] = []
        for _ in range(steps):
            loss = self.objective(self.batch()).total
            losses.append(loss.item())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        return [*losses, self.objective(self.batch()).total.item()]


def begin(
    lab: Lab,
    *objective: dict[str, Any],
    network: dict[str, Any] = RESNET,
    teacher: dict[str, Any] = RESNET,
    seed: int = 0,
    training: dict[str, Any] | None = None,
    spec: dict[str, Any] | None = None,
    **changes: Any,
) -> Lesson:
    """A lesson whose teacher is freshly drawn; `changes` go into the assignment."""
    students = [{"name": "small", "network": network, "input": INPUT}]
    given = lab.spec(
        objective=list(objective),
        students=students,
        training={"augment": [], "views": 1} | (training or {}),
        **(spec or {}),
    )
    resolved = ResolvedJob.model_validate(given)
    assignment = lab.assignment(**{"teachers": [lab.teacher(teacher)]} | changes)
    student = resolved.students[0]
    course = courses.of_run(assignment, resolved, student, seed=seed)
    built = trial.build(student, seed=seed, classes=10, device=CPU, field="students.0")
    objective_ = course.objective(built, student)
    if course.teacher is not None:
        course.teacher.open_view(0, pulse=lambda: None)
    return Lesson(course, student, built, objective_)
