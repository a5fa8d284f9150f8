"""Jobs: which teachers, which data, which students, and how."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    JsonValue,
    StringConstraints,
    field_validator,
    model_validator,
)

from stillhouse.spec.base import (
    Frozen,
    Int,
    Metadata,
    Name,
    Seed,
    later,
    not_available,
)
from stillhouse.spec.objective import (
    Labels,
    ObjectiveTerm,
    SoftTargets,
    VirtualTeacher,
)
from stillhouse.spec.student import StudentSpec
from stillhouse.spec.teaching import AnyTeacher, SelfTeacher, TeacherRef
from stillhouse.spec.training import TrainingSpec

METRICS = ("accuracy", "balanced_accuracy", "macro_f1", "loss", "ece", "brier")
MINIMISED = frozenset({"loss", "ece", "brier"})


Teachers = Literal["probabilities", "logits"]
DatasetId = Annotated[str, Field(pattern=r"^ds_[0-9a-z]{26}$")]


class Resources(Frozen):
    """What a run needs."""

    device: Literal["auto", "cpu", "cuda"] = "auto"


class Limits(Frozen):
    """What a job may use."""

    seconds: Annotated[Int, Field(ge=1, le=31_536_000)] = 86_400
    """Wall-clock seconds from the first start."""


_CONTROLS_LATER = ("dropout", "weight_decay", "label_smoothing", "weight_init")


def _control(value: Any) -> Any:
    if value in _CONTROLS_LATER:
        raise not_available(f"the control '{value}'", "take 'no_teacher', or []")
    return value


Pointer = Annotated[str, StringConstraints(pattern=r"^(/[^/]{1,64}){1,16}$")]


class Sweep(Frozen):
    """The same job with other values: each combination is a variant."""

    kind: Literal["grid", "random"]
    parameters: Annotated[
        dict[Pointer, Annotated[tuple[JsonValue, ...], Field(min_length=1, max_length=64)]],
        Field(min_length=1, max_length=8),
    ]
    """JSON pointers into the spec, below objective, training, students or teachers."""
    samples: Annotated[Int, Field(ge=1, le=256)] | None = None
    """random: how many combinations are drawn, none twice."""
    seed: Seed = 0


Export = Literal["onnx"]


class OnnxExport(Frozen):
    """ONNX beside the student's own format."""

    kind: Export
    precision: Literal["fp32"] = "fp32"


def _export(value: Any) -> Any:
    return {"kind": value} if isinstance(value, str) else value


def default_objective() -> tuple[Labels | SoftTargets, ...]:
    """Hinton's mixture: soft targets at 0.9, labels at 0.1."""
    return (
        SoftTargets(kind="soft_targets", temperature=4.0, weight=0.9),
        Labels(kind="labels", weight=0.1),
    )


class JobSpec(Frozen):
    """A job. The shortest that works names `teachers`, `dataset` and `students`."""

    name: Name | None = None
    teachers: Annotated[tuple[AnyTeacher, ...], Field(max_length=8)]
    """None at all only where no term needs one (`virtual_teacher`)."""
    combine: Teachers = "probabilities"
    """What of several teachers is averaged."""
    dataset: DatasetId
    transfer: Annotated[tuple[DatasetId, ...], Field(max_length=8)] = ()
    """Unlabelled sets that are trained on as well; terms that need labels skip their rows."""
    students: Annotated[tuple[StudentSpec, ...], Field(min_length=1, max_length=32)]
    objective: Annotated[tuple[ObjectiveTerm, ...], Field(min_length=1, max_length=8)] = Field(
        default_factory=default_objective
    )
    training: TrainingSpec = TrainingSpec()
    controls: tuple[Annotated[Literal["no_teacher"], BeforeValidator(_control)], ...] = (
        "no_teacher",
    )
    seeds: (
        Annotated[Int, Field(ge=1, le=100)]
        | Annotated[tuple[Seed, ...], Field(min_length=1, max_length=100)]
    ) = 1
    """n stands for 0 … n-1."""
    select: str = "validation_accuracy"
    sweep: Sweep | None = None
    budget: Annotated[None, later("budget", None)] = None
    exports: Annotated[
        tuple[Annotated[OnnxExport, BeforeValidator(_export)], ...], Field(max_length=1)
    ] = ()
    resources: Resources = Resources()
    limits: Limits = Limits()
    priority: Annotated[Int, Field(ge=-100, le=100)] = 0
    metadata: Metadata = Field(default_factory=dict)
    webhook: Annotated[None, later("webhook", None)] = None

    @field_validator("select")
    @classmethod
    def _selection_never_sees_the_test_part(cls, value: str) -> str:
        if value not in {f"validation_{metric}" for metric in METRICS}:
            known = ", ".join(f"validation_{metric}" for metric in METRICS)
            message = f"must be one of {known}; the test part never chooses anything"
            raise ValueError(message)
        return value

    @model_validator(mode="after")
    def _names_and_seeds_are_distinct(self) -> JobSpec:
        names = [student.name for student in self.students]
        if len(set(names)) != len(names):
            message = "two students have the same name"
            raise ValueError(message)
        if len(set(self.seed_list)) != len(self.seed_list):
            message = "'seeds' names a seed twice"
            raise ValueError(message)
        if len(set(self.controls)) != len(self.controls):
            message = "'controls' names a control twice"
            raise ValueError(message)
        if all(term.weight == 0 for term in self.objective):
            message = "every term of the objective has weight 0"
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _teachers_suit_the_objective(self) -> JobSpec:
        alone = [t for t in self.teachers if isinstance(t, SelfTeacher)]
        if alone and len(self.teachers) > 1:
            message = "a 'self' teacher stands alone"
            raise ValueError(message)
        if not self.teachers and type(self) is JobSpec and not self.imagines_a_teacher:
            message = "name a teacher, or take the objective 'virtual_teacher'"
            raise ValueError(message)
        named = [t.id for t in self.teachers if isinstance(t, TeacherRef)]
        if len(set(named)) != len(named):
            message = "'teachers' names a teacher twice"
            raise ValueError(message)
        if len(set(self.transfer)) != len(self.transfer) or self.dataset in self.transfer:
            message = "'transfer' names a dataset twice, or the job's own"
            raise ValueError(message)
        return self

    @property
    def imagines_a_teacher(self) -> bool:
        """Whether it distils from a teacher that is nowhere."""
        return any(isinstance(term, VirtualTeacher) for term in self.objective)

    @property
    def seed_list(self) -> tuple[int, ...]:
        """The seeds, one by one."""
        return tuple(range(self.seeds)) if isinstance(self.seeds, int) else self.seeds

    @property
    def arms(self) -> tuple[str, ...]:
        """The distilled arm and the controls."""
        return ("distilled", *self.controls)


class ResolvedJob(JobSpec):
    """A job with nothing left to choose; one that trains a teacher has no teachers itself."""

    teachers: tuple[TeacherRef | SelfTeacher, ...] = ()

    @property
    def arms(self) -> tuple[str, ...]:
        """The distilled arm and the controls; where nobody teaches, the student alone."""
        if self.teachers or self.imagines_a_teacher:
            return ("distilled", *self.controls)
        return ("no_teacher",)
