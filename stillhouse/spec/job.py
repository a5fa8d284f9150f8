"""Jobs: which teachers, which data, which students, and how."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from stillhouse.spec.base import Auto, Frozen, Int, Metadata, Name, Number, later, not_available
from stillhouse.spec.network import InputSpec, NetworkSpec
from stillhouse.spec.objective import Labels, ObjectiveTerm, SoftTargets
from stillhouse.spec.training import TrainingSpec

METRICS = ("accuracy", "balanced_accuracy", "macro_f1", "loss", "ece", "brier")
MINIMISED = frozenset({"loss", "ece", "brier"})
Seed = Annotated[Int, Field(ge=0, lt=2**31)]


def _teacher_ref(value: Any) -> Any:
    if isinstance(value, dict):
        for key in ("self", "train"):
            if key in value:
                raise not_available(f"a teacher by '{key}'", "name a teacher by 'id'")
    return value


class TeacherRef(Frozen):
    """A teacher of the job."""

    id: Annotated[str, Field(pattern=r"^tch_[0-9a-z]{26}$")]
    weight: Annotated[Number, Field(gt=0, le=1e6)] = 1.0
    class_map: Annotated[None, later("class_map", None)] = None
    expect: Annotated[None, later("expect", None)] = None


class RandomInit(Frozen):
    """Weights as the network's constructor draws them, from the run's seed."""

    kind: Literal["random"] = "random"


def _init(value: Any) -> Any:
    if isinstance(value, dict) and value.get("kind") in ("from_teacher", "given"):
        raise not_available(f"init '{value['kind']}'", "take 'random'")
    return value


class StudentSpec(Frozen):
    """A student of the job."""

    name: Name
    network: NetworkSpec
    init: Annotated[RandomInit, BeforeValidator(_init)] = RandomInit()
    input: InputSpec | None = None
    """Default: the dataset's size, the first teacher's mean and std."""

    @model_validator(mode="before")
    @classmethod
    def _shrink_comes_later(cls, value: Any) -> Any:
        if isinstance(value, dict) and value.get("shrink") is not None:
            raise not_available("'shrink'", "name the student's network")
        return value


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


def default_objective() -> tuple[Labels | SoftTargets, ...]:
    """Hinton's mixture: soft targets at 0.9, labels at 0.1."""
    return (
        SoftTargets(kind="soft_targets", temperature=4.0, weight=0.9),
        Labels(kind="labels", weight=0.1),
    )


class JobSpec(Frozen):
    """A job. The shortest that works names `teachers`, `dataset` and `students`."""

    name: Name | None = None
    teachers: Annotated[
        tuple[Annotated[TeacherRef, BeforeValidator(_teacher_ref)], ...],
        Field(min_length=1, max_length=1),
    ]
    dataset: Annotated[str, Field(pattern=r"^ds_[0-9a-z]{26}$")]
    transfer: Annotated[tuple[()], later("transfer", [])] = ()
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
    sweep: Annotated[None, later("sweep", None)] = None
    budget: Annotated[None, later("budget", None)] = None
    exports: Annotated[tuple[()], later("exports", [])] = ()
    resources: Resources = Resources()
    limits: Limits = Limits()
    priority: Annotated[Int, Field(ge=-100, le=100)] = 0
    metadata: Metadata = Field(default_factory=dict)
    webhook: Annotated[None, later("webhook", None)] = None

    @field_validator("teachers", mode="before")
    @classmethod
    def _several_teachers_come_later(cls, value: Any) -> Any:
        if isinstance(value, list | tuple) and len(value) > 1:
            raise not_available("more than one teacher", "name one")
        return value

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

    @property
    def seed_list(self) -> tuple[int, ...]:
        """The seeds, one by one."""
        return tuple(range(self.seeds)) if isinstance(self.seeds, int) else self.seeds

    @property
    def arms(self) -> tuple[str, ...]:
        """The distilled arm and the controls."""
        return ("distilled", *self.controls)

    @property
    def run_count(self) -> int:
        """Training runs: students by arms by seeds."""
        return len(self.students) * len(self.arms) * len(self.seed_list)


class ResolvedJob(JobSpec):
    """A job with nothing left to choose; one that trains a teacher has no teachers itself."""

    teachers: tuple[TeacherRef, ...] = ()

    @property
    def arms(self) -> tuple[str, ...]:
        """The distilled arm and the controls; without a teacher, the student alone."""
        return ("distilled", *self.controls) if self.teachers else ("no_teacher",)


__all__ = [
    "METRICS", "MINIMISED", "Auto", "JobSpec", "Limits", "ResolvedJob", "Resources", "StudentSpec",
    "TeacherRef",
]  # fmt: skip
