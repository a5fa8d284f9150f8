"""A job's teachers as one: each is asked or looked up, and what they say is averaged."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from stillhouse.errors import InputRejected
from stillhouse.spec import ResolvedJob, TeacherRef, methods
from worker.engine import recorded, teacher
from worker.engine.objective import Terms
from worker.engine.recorded import Recorded
from worker.engine.teacher import Teacher
from worker.protocol import Assignment

AnyTeacher = Teacher | Recorded
Combine = Literal["probabilities", "logits"]


@dataclass(frozen=True, slots=True)
class Panel:
    """One teacher or several."""

    teachers: tuple[AnyTeacher, ...]
    weights: tuple[float, ...]
    """One for each teacher; their sum is 1."""
    combine: Combine = "probabilities"

    @property
    def inside(self) -> Teacher | None:
        """The one whose activations and weights are looked at: the first, if it has any."""
        first = self.teachers[0]
        return first if isinstance(first, Teacher) else None

    def average(self, logits: Sequence[Tensor]) -> Tensor:
        """What the teachers say together.

        Args:
            logits: Of each teacher, (batch, classes).

        Returns:
            (batch, classes): the weighted mean of the logits, or the logarithm of the weighted
            mean of the probabilities, computed in log space. A single teacher's are left alone.
        """
        if len(logits) == 1:
            return logits[0]
        if self.combine == "logits":
            return torch.stack([w * z for w, z in zip(self.weights, logits, strict=True)]).sum(0)
        each = [
            F.log_softmax(z, dim=1) + math.log(w) for w, z in zip(self.weights, logits, strict=True)
        ]
        return torch.stack(each).logsumexp(dim=0)


def of_teacher(one: AnyTeacher) -> Panel:
    """A panel of a single teacher."""
    return Panel((one,), (1.0,))


def load(assignment: Assignment, spec: ResolvedJob, *, device: torch.device) -> Panel | None:
    """Load a run's teachers, each refused as in `teacher.load` or `recorded.load`.

    Args:
        assignment: The run; its teachers stand in the order of the specification.
        spec: The job's.
        device: Where they are to compute.

    Returns:
        The panel; None where the job has no teacher with an id.
    """
    classes = len(assignment["dataset"]["classes"])
    loaded: list[AnyTeacher] = []
    for place, files in enumerate(assignment["teachers"]):
        field = f"teachers.{place}"
        if files["weights"] is None:
            loaded.append(recorded.load(files, classes=classes, field=field))
            continue
        loaded.append(
            teacher.load(
                files, classes=classes, device=device, inputs=assignment["files"], field=field
            )
        )
    given = [ref.weight for ref in spec.teachers if isinstance(ref, TeacherRef)]
    if not loaded:
        return None
    return Panel(tuple(loaded), tuple(weight / sum(given) for weight in given), spec.combine)


def check(panel: Panel, terms: Terms, *, mixes: bool, transfer: bool) -> None:
    """Refuse what teachers that are known by their outputs alone can't do.

    Args:
        panel: The teachers.
        terms: The job's objective.
        mixes: Whether items are shown blended with others.
        transfer: Whether rows of other datasets are trained on.

    Raises:
        InputRejected: `teacher_has_no_logits`, `outputs_not_of_mixes` or
            `outputs_not_of_transfer`.
    """
    known = [one for one in panel.teachers if isinstance(one, Recorded)]
    if not known:
        return
    soft = [
        (place, term)
        for place, term in enumerate(terms)
        if term.weight > 0 and "teacher_logits" in methods.needs(term)
    ]
    if soft and any(one.names_only for one in known):
        place, term = soft[0]
        raise InputRejected(
            "teacher_has_no_logits",
            f"The teacher names a class for each row and no more, and '{term.kind}' needs its "
            "logits or probabilities; take 'hard_targets'.",
            field=f"objective.{place}.kind",
        )
    if mixes:
        raise InputRejected(
            "outputs_not_of_mixes",
            "Only outputs for single rows are known of the teacher, none for blended ones; leave "
            "'mixup' and 'cutmix' out.",
            field="training.augment",
        )
    if transfer:
        raise InputRejected(
            "outputs_not_of_transfer",
            "The teacher's outputs are of the job's dataset, and it can't be asked about the "
            "transfer sets; leave 'transfer' out, or take a teacher with weights.",
            field="transfer",
        )
