"""From what was sent to what is run: every field's value, replayable.

"auto" becomes, for images, by the number of training rows:

    rows         epochs  batch_size
    < 500           100          32
    < 2,000          40          64
    < 10,000         30         128
    < 100,000        30         128
    more             20         256

    optimizer   AdamW, lr 2e-3, weight decay 0.05 (named without a rate: SGD 0.05, Muon 0.01)
    schedule    cosine to 0, linear warm-up over 5 % of the epochs
    augment     none: nobody but the user knows which flips keep a label
    views       1 without augmentation, else "fresh"
    clip_norm   1.0
    accumulate  1
    ema, early_stopping   none
    precision   fp32; bf16 where the prepare run finds a device that is faster with it
"""

from __future__ import annotations

from typing import Any

from core import alignment, fed, fit
from core.inputs import Inputs
from stillhouse.errors import SpecInvalid
from stillhouse.spec import (
    AdamW,
    JobSpec,
    Optimizer,
    ResolvedJob,
    Schedule,
    SelfTeacher,
    TeacherRef,
    TrainedTeacher,
    TrainingSpec,
)

_BY_ROWS = ((500, 100, 32), (2_000, 40, 64), (10_000, 30, 128), (100_000, 30, 128))
_DEFAULT_LR = {"sgd": 0.05, "adamw": 2e-3, "muon": 0.01}


def job(spec: JobSpec, inputs: Inputs) -> ResolvedJob:
    """A job spec with nothing left on "auto", once its inputs are ready.

    What doesn't fit together is refused as by `alignment.class_order`, `fed.default`,
    `fed.complete` and `fit.require_classes`.

    Args:
        spec: as sent, or one of its variants.
        inputs: what it names, ready; a teacher that is trained for it stands in its place.

    Returns:
        The resolved job; `precision` and what `shrink` comes to are settled by the prepare run.

    Raises:
        SpecInvalid: if the batch is larger than the training part.
    """
    _require_forms(spec, inputs)
    fit.require_classes(spec, inputs.dataset)
    rows = inputs.dataset.facts["rows"]["train"]
    if isinstance(spec.training.batch_size, int) and spec.training.batch_size > rows:
        raise SpecInvalid(
            f"batch_size {spec.training.batch_size} is larger than the {rows} training rows; "
            "take a smaller one or 'auto'.",
            field="training.batch_size",
        )
    default = fed.default(inputs)
    students = [
        student.model_dump()
        | {"input": fed.complete(student.input, default, field=f"students.{place}.input")}
        for place, student in enumerate(spec.students)
    ]
    fields = spec.model_dump() | {
        "teachers": _teachers(spec, inputs),
        "seeds": spec.seed_list,
        "students": students,
        "training": training(spec.training, rows=rows).model_dump(),
    }
    return ResolvedJob.model_validate(fields)


def _require_forms(spec: JobSpec, inputs: Inputs) -> None:
    """Refuse inputs whose items or classes aren't of the dataset's form."""
    for place, (given, teacher) in enumerate(zip(spec.teachers, inputs.teachers, strict=False)):
        field = f"teachers.{place}"
        fed.require_teacher(teacher, inputs.dataset, field=f"{field}.id")
        class_map = given.class_map if isinstance(given, TeacherRef) else None
        alignment.class_order(teacher, inputs.dataset, class_map, field=field)
    for place, transfer in enumerate(inputs.transfer):
        fed.require_transfer(transfer, inputs.dataset, field=f"transfer.{place}")


def _teachers(spec: JobSpec, inputs: Inputs) -> list[dict[str, Any]]:
    """Those with an id; one that is trained for the job has got one by now."""
    return [
        {"id": inputs.teachers[place].id, "weight": given.weight, "expect": given.expect}
        if isinstance(given, TrainedTeacher)
        else given.model_dump()
        for place, given in enumerate(spec.teachers)
    ]


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
            "accumulate": 1 if spec.accumulate == "auto" else spec.accumulate,
            "ema": None if spec.ema == "auto" else spec.ema,
            "early_stopping": None if spec.early_stopping == "auto" else spec.early_stopping,
        }
    )


def steps(resolved: ResolvedJob, rows: int, *, arm: str = "no_teacher") -> int:
    """Optimizer steps of one training run, at most: a chain, or a stage of it, may end early.

    A last batch of one joins the one before it.
    """
    batch, epochs = resolved.training.batch_size, resolved.training.epochs
    if not isinstance(batch, int) or not isinstance(epochs, int):
        return 0
    full, rest = divmod(rows, batch)
    each = epochs * (full + (1 if rest > 1 or full == 0 else 0))
    return each * (1 if arm == "no_teacher" else stages(resolved))


def stages(spec: JobSpec) -> int:
    """How many networks a distilled run trains one after another, at most."""
    match spec.teachers:
        case (SelfTeacher() as alone,):
            return 1 + alone.self.rounds
        case (TeacherRef(assistant=assistant),) if assistant is not None:
            return 2
        case _:
            return 1


def _epochs_and_batch(rows: int) -> tuple[int, int]:
    for limit, epochs, batch in _BY_ROWS:
        if rows < limit:
            return epochs, batch
    return 20, 256


def _optimizer(spec: Optimizer | str) -> Optimizer:
    chosen = AdamW(kind="adamw") if isinstance(spec, str) else spec
    if chosen.lr == "auto":
        return chosen.model_copy(update={"lr": _DEFAULT_LR[chosen.kind]})
    return chosen


def _schedule(spec: Schedule | str, epochs: int) -> Schedule:
    if isinstance(spec, Schedule):
        return spec
    return Schedule(kind="cosine", warmup_epochs=round(epochs * 0.05, 2))
