"""From what was sent to what is run: every field's value, replayable.

"auto" becomes, for images, by the number of training rows:

    rows         epochs  batch_size
    < 500           100          32
    < 2,000          40          64
    < 10,000         30         128
    < 100,000        30         128
    more             20         256

    optimizer   AdamW, lr 2e-3, weight decay 0.05 (SGD, if named without a rate: 0.05)
    schedule    cosine to 0, linear warm-up over 5 % of the epochs
    augment     none: nobody but the user knows which flips keep a label
    views       1 without augmentation, else "fresh"
    clip_norm   1.0
    precision   fp32; bf16 where the prepare run finds a device that is faster with it
"""

from __future__ import annotations

import math
from typing import Any

from core.tables import Dataset, Teacher
from stillhouse.errors import ClassesDiffer, SpecInvalid
from stillhouse.spec import (
    AdamW,
    InputSpec,
    JobSpec,
    Optimizer,
    ResolvedJob,
    Schedule,
    Sgd,
    TrainingSpec,
)

_BY_ROWS = ((500, 100, 32), (2_000, 40, 64), (10_000, 30, 128), (100_000, 30, 128))
_DEFAULT_LR = {"sgd": 0.05, "adamw": 2e-3}


def job(spec: JobSpec, *, teacher: Teacher | None, dataset: Dataset) -> ResolvedJob:
    """A job spec with nothing left on "auto", once teacher and dataset are ready.

    Args:
        spec: as sent.
        teacher: the ready teacher; None where a teacher is to be trained. Its classes must be
            the dataset's (see `class_order`).
        dataset: the ready dataset.

    Returns:
        The resolved job; `precision` may be settled by the prepare run.

    Raises:
        SpecInvalid: if the batch is larger than the training part.
    """
    if teacher is not None:
        class_order(teacher, dataset)
    rows = dataset.facts["rows"]["train"]
    if isinstance(spec.training.batch_size, int) and spec.training.batch_size > rows:
        raise SpecInvalid(
            f"batch_size {spec.training.batch_size} is larger than the {rows} training rows; "
            "take a smaller one or 'auto'.",
            field="training.batch_size",
        )
    default = default_input(teacher, dataset)
    students = tuple(
        student.model_copy(update={"input": complete_input(student.input, default)})
        for student in spec.students
    )
    fields = spec.model_dump() | {
        "seeds": spec.seed_list,
        "students": [student.model_dump() for student in students],
        "training": training(spec.training, rows=rows).model_dump(),
    }
    return ResolvedJob.model_validate(fields)


def training(spec: TrainingSpec, *, rows: int) -> TrainingSpec:
    """The recipe with nothing left on "auto" but `precision`, which needs a device."""
    epochs, batch_size = _epochs_and_batch(rows)
    epochs = epochs if spec.epochs == "auto" else spec.epochs
    augment = () if spec.augment == "auto" else spec.augment
    views = ("fresh" if augment else 1) if spec.views == "auto" else spec.views
    return spec.model_copy(
        update={
            "epochs": epochs,
            "batch_size": min(batch_size, rows) if spec.batch_size == "auto" else spec.batch_size,
            "optimizer": _optimizer(spec.optimizer),
            "schedule": _schedule(spec.schedule, epochs),
            "augment": augment,
            "views": views,
            "view_seed": 0 if spec.view_seed == "auto" else spec.view_seed,
            "deterministic": spec.deterministic is True,
            "precision": "fp32" if spec.deterministic is True else spec.precision,
            "clip_norm": 1.0 if spec.clip_norm == "auto" else spec.clip_norm,
        }
    )


def steps(resolved: ResolvedJob, rows: int) -> int:
    """Optimizer steps of one training run. A last batch of one joins the one before it."""
    batch, epochs = resolved.training.batch_size, resolved.training.epochs
    if not isinstance(batch, int) or not isinstance(epochs, int):
        return 0
    full, rest = divmod(rows, batch)
    return epochs * (full + (1 if rest > 1 or full == 0 else 0))


def class_order(teacher: Teacher, dataset: Dataset) -> list[int] | None:
    """Which of the teacher's outputs is each class of the dataset; None: the same order.

    Raises `ClassesDiffer` if they can't be aligned.
    """
    theirs, ours = teacher.classes, dataset.classes or []
    if theirs is None or dataset.facts.get("classes_unnamed"):
        count = teacher.class_count if theirs is None else len(theirs)
        if count != len(ours):
            raise ClassesDiffer(
                f"The teacher has {count} classes, the dataset {len(ours)}; "
                "take the teacher that was trained for these classes.",
                field="teachers.0.id",
            )
        return None
    if set(theirs) != set(ours):
        only = sorted(set(map(str, theirs)) ^ set(map(str, ours)))[:5]
        raise ClassesDiffer(
            f"Teacher and dataset name different classes (for example {', '.join(only)}); "
            "name them alike on both sides.",
            field="teachers.0.id",
        )
    order = [theirs.index(name) for name in ours]
    return None if order == list(range(len(order))) else order


def alignment_warnings(teacher: Teacher, dataset: Dataset) -> list[dict[str, str]]:
    """What a report must say about how classes were matched."""
    if teacher.classes is None or dataset.facts.get("classes_unnamed"):
        side = "the teacher" if teacher.classes is None else "the dataset"
        message = f"The classes of {side} have no names; they were matched by position."
        return [{"code": "classes_by_position", "message": message}]
    return []


def default_input(teacher: Teacher | None, dataset: Dataset) -> InputSpec:
    """The dataset's size and channels, the teacher's mean and std."""
    found = dataset.facts["input"]
    channels = found["channels"]
    theirs = InputSpec.model_validate(teacher.input) if teacher and teacher.input else None
    declared = dataset.spec.get("input") or {}
    mean = theirs.mean if theirs else declared.get("mean")
    std = theirs.std if theirs else declared.get("std")
    count = 1 if channels == "gray" else 3
    return InputSpec(
        size=tuple(found["size"]),
        channels=channels,
        mean=_per_channel(mean, count, 0.0),
        std=_per_channel(std, count, 1.0),
        interpolation=theirs.interpolation if theirs else "bilinear",
    )


def complete_input(given: InputSpec | None, default: InputSpec) -> InputSpec:
    """A student's own input with the default's statistics where it has none."""
    if given is None:
        return default
    channels = given.channels if "channels" in given.model_fields_set else default.channels
    count = 1 if channels == "gray" else 3
    return given.model_copy(
        update={
            "channels": channels,
            "mean": _per_channel(given.mean or default.mean, count, 0.0),
            "std": _per_channel(given.std or default.std, count, 1.0),
        }
    )


def _per_channel(values: Any, count: int, otherwise: float) -> tuple[float, ...]:
    if not values:
        return (otherwise,) * count
    if len(values) == count:
        return tuple(values)
    # One value stands for all; three on gray are averaged, as the luminance nearly does.
    return (math.fsum(values) / len(values),) * count


def _epochs_and_batch(rows: int) -> tuple[int, int]:
    for limit, epochs, batch in _BY_ROWS:
        if rows < limit:
            return epochs, batch
    return 20, 256


def _optimizer(spec: Optimizer | str) -> Optimizer:
    chosen: Sgd | AdamW = AdamW(kind="adamw") if isinstance(spec, str) else spec
    if chosen.lr == "auto":
        return chosen.model_copy(update={"lr": _DEFAULT_LR[chosen.kind]})
    return chosen


def _schedule(spec: Schedule | str, epochs: int) -> Schedule:
    if isinstance(spec, Schedule):
        return spec
    return Schedule(kind="cosine", warmup_epochs=round(epochs * 0.05, 2))
