"""Who teaches in a job: teachers by id, the student itself, or one that is trained first."""

from __future__ import annotations

from typing import Annotated, Any, TypeAlias

from pydantic import Discriminator, Field, Tag

from stillhouse.spec.base import Frozen, Int, Number, Seed, later
from stillhouse.spec.network import NetworkSpec
from stillhouse.spec.training import TrainingSpec

Id = Annotated[str, Field(pattern=r"^tch_[0-9a-z]{26}$")]
ClassName = Annotated[str, Field(min_length=1, max_length=256)]


class Expect(Frozen):
    """What the teacher is known to reach; another figure means another set-up."""

    validation_accuracy: Annotated[Number, Field(ge=0, le=1)]
    tolerance: Annotated[Number, Field(ge=0, le=1)] = 0.02


class Assistant(Frozen):
    """A network between teacher and student: taught by the one, it teaches the other."""

    network: NetworkSpec


class TeacherRef(Frozen):
    """A teacher of the job."""

    id: Id
    weight: Annotated[Number, Field(gt=0, le=1e6)] = 1.0
    """Among several teachers; the weights are scaled to a sum of 1."""
    class_map: Annotated[dict[ClassName, ClassName], Field(max_length=100_000)] | None = None
    """The dataset's class -> the teacher's, where their names differ."""
    expect: Expect | None = None
    assistant: Assistant | None = None
    """A chain: trained first by this job's objective, it is the student's teacher then."""


class SelfRounds(Frozen):
    """How often a student of the same network learns from the one before."""

    rounds: Annotated[Int, Field(ge=1, le=20)] = 1
    """At most; it ends at the first round that isn't better on validation."""


class SelfTeacher(Frozen):
    """Born-again networks: the student itself, trained with labels, is the first teacher."""

    self: SelfRounds


class TrainedTeacherNetwork(Frozen):
    """A teacher that the service trains with this job's dataset and labels."""

    network: NetworkSpec
    training: TrainingSpec = TrainingSpec()
    seed: Seed = 0
    cross_fit: Annotated[None, later("cross_fit", None)] = None


class TrainedTeacher(Frozen):
    """A teacher to be trained first. It gets an id of its own, and can be used again."""

    train: TrainedTeacherNetwork
    weight: Annotated[Number, Field(gt=0, le=1e6)] = 1.0
    expect: Expect | None = None


def _kind_of_teacher(value: Any) -> str:
    for key in ("self", "train"):
        if key in value if isinstance(value, dict) else hasattr(value, key):
            return key
    return "id"


AnyTeacher: TypeAlias = Annotated[
    Annotated[TeacherRef, Tag("id")]
    | Annotated[SelfTeacher, Tag("self")]
    | Annotated[TrainedTeacher, Tag("train")],
    Discriminator(_kind_of_teacher),
]
