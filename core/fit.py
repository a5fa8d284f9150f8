"""Whether a spec's parts can go together, as far as the tables can tell: no network is built."""

from __future__ import annotations

from core import fed
from core.inputs import Inputs
from core.tables import Dataset, Teacher
from stillhouse.errors import InputRejected
from stillhouse.spec import (
    JobSpec,
    Labels,
    SoftTargets,
    TeacherInit,
    TeacherRef,
    TrainedTeacher,
    methods,
)

_OF_A_TEACHER = frozenset(
    {"teacher_logits", "teacher_class", "features", "stage_maps", "teacher_weights"}
)
_INSIDE = frozenset({"features", "stage_maps", "teacher_weights"})


def require(spec: JobSpec, inputs: Inputs) -> None:
    """Refuse what can be seen to be wrong before any input has been checked.

    Raises `InputRejected`: `labels_missing`, `outputs_of_another_dataset`, `outputs_not_of_mixes`,
    `outputs_not_of_transfer`, `needs_teacher`, `needs_features`, `needs_teacher_weights`,
    `teacher_has_no_logits`, `assistant_among_several` or `augment_not_for_modality`.
    """
    if _is_unlabelled(inputs.dataset):
        raise InputRejected(
            "labels_missing",
            f"The dataset {inputs.dataset.id} has no labels to validate and test by; name it in "
            "'transfer', and a labelled one as 'dataset'.",
            field="dataset",
        )
    known = {teacher.id: teacher for teacher in inputs.teachers if teacher.spec.get("outputs")}
    recorded = {
        f"teachers.{place}": known[one.id]
        for place, one in enumerate(spec.teachers)
        if isinstance(one, TeacherRef) and one.id in known
    }
    _require_rows(spec, inputs, recorded)
    _require_teachers(spec, recorded)
    _require_weights(spec, recorded)
    if spec.training.augment and fed.modality(inputs.dataset) == "text":
        raise InputRejected(
            "augment_not_for_modality",
            "Nothing of 'augment' can be done to texts; leave it out.",
            field="training.augment",
            allowed=[],
        )


def require_classes(spec: JobSpec, dataset: Dataset) -> None:
    """Refuse terms that the dataset has too few classes for, or another number of.

    Raises `InputRejected`: `needs_three_classes` or `class_weights_length`.
    """
    classes = len(dataset.classes or [])
    for place, term in enumerate(spec.objective):
        if term.weight > 0 and methods.min_classes(term) > classes:
            standardizes = isinstance(term, SoftTargets) and term.standardize
            remedy = "set 'standardize' to false" if standardizes else "take another objective"
            raise InputRejected(
                "needs_three_classes",
                f"'{term.kind}' needs {methods.min_classes(term)} classes, the dataset has "
                f"{classes}; {remedy}.",
                field=f"objective.{place}.{'standardize' if standardizes else 'kind'}",
            )
        weights = term.class_weights if isinstance(term, Labels) else None
        if isinstance(weights, tuple) and len(weights) != classes:
            raise InputRejected(
                "class_weights_length",
                f"'class_weights' has {len(weights)} values, the dataset {classes} classes; give "
                "one for each, in the dataset's order.",
                field=f"objective.{place}.class_weights",
            )


def _is_unlabelled(dataset: Dataset) -> bool:
    columns = dataset.spec.get("columns") or {"label": "label"}
    return bool(dataset.facts and dataset.facts["rows"].get("unlabelled")) or (
        columns["label"] is None
    )


def _require_rows(spec: JobSpec, inputs: Inputs, recorded: dict[str, Teacher]) -> None:
    """Recorded outputs are of the rows of one dataset, as they lie there."""
    for field, teacher in recorded.items():
        of = teacher.spec["outputs"]["dataset"]
        if of != inputs.dataset.id:
            raise InputRejected(
                "outputs_of_another_dataset",
                f"The outputs of teacher {teacher.id} are of the dataset {of}; take that one, or "
                "send outputs for this one.",
                field=f"{field}.id",
            )
    if recorded and spec.transfer:
        raise InputRejected(
            "outputs_not_of_transfer",
            "The teacher's outputs are of the job's dataset, and it can't be asked about the "
            "transfer sets; leave 'transfer' out, or take a teacher with weights.",
            field="transfer",
        )
    mixes = isinstance(spec.training.augment, tuple) and any(
        one.kind in ("mixup", "cutmix") for one in spec.training.augment
    )
    if recorded and mixes:
        raise InputRejected(
            "outputs_not_of_mixes",
            "Only outputs for single rows are known of the teacher, none for blended ones; leave "
            "'mixup' and 'cutmix' out.",
            field="training.augment",
        )


def _require_teachers(spec: JobSpec, recorded: dict[str, Teacher]) -> None:
    """What the objective looks at must be there to be looked at."""
    names_only = any(one.spec["outputs"]["kind"] == "labels" for one in recorded.values())
    for place, term in enumerate(spec.objective):
        needs, field = methods.needs(term), f"objective.{place}.kind"
        if term.weight == 0:
            continue
        if needs & _OF_A_TEACHER and not spec.teachers:
            raise InputRejected(
                "needs_teacher",
                f"'{term.kind}' looks at a teacher, and the job names none; name one in "
                "'teachers', or leave the term out.",
                field=field,
            )
        if needs & _INSIDE and "teachers.0" in recorded:
            raise InputRejected(
                "needs_features",
                f"'{term.kind}' looks inside the first teacher, of which only the outputs are "
                "known; put a teacher with weights first, or take an objective of its outputs.",
                field=field,
            )
        if "teacher_logits" in needs and names_only:
            raise InputRejected(
                "teacher_has_no_logits",
                f"The teacher names a class for each row and no more, and '{term.kind}' needs its "
                "logits or probabilities; take 'hard_targets'.",
                field=field,
            )
    chained = [
        place
        for place, one in enumerate(spec.teachers)
        if isinstance(one, TeacherRef) and one.assistant is not None
    ]
    if chained and len(spec.teachers) > 1:
        raise InputRejected(
            "assistant_among_several",
            "An assistant stands between one teacher and its student; name that teacher alone.",
            field=f"teachers.{chained[0]}.assistant",
        )


def _require_weights(spec: JobSpec, recorded: dict[str, Teacher]) -> None:
    """A student that is made of its teacher needs one whose network is there."""
    first = spec.teachers[0] if spec.teachers else None
    if isinstance(first, TeacherRef | TrainedTeacher) and "teachers.0" not in recorded:
        return
    for place, student in enumerate(spec.students):
        is_tied = isinstance(student.init, TeacherInit)
        if student.shrink is None and not is_tied:
            continue
        raise InputRejected(
            "needs_teacher_weights",
            "A student that is made of its teacher needs a first teacher with weights; name one, "
            "or give the student a network and weights of its own.",
            field=f"students.{place}.{'init' if is_tied else 'shrink'}",
        )
