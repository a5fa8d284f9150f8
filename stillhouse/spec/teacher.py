"""Teachers: networks with weights."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from stillhouse.spec.base import ClassNames, Frozen, Metadata, Name, Sha256
from stillhouse.spec.input import AnyInput
from stillhouse.spec.network import BlobRef, FilesRef, NetworkSpec, UriRef
from stillhouse.spec.training import TrainingSpec

Part = Literal["train", "validation", "test"]


class SeenParts(Frozen):
    """The parts of a dataset that a teacher was trained on."""

    dataset: Annotated[str, Field(pattern=r"^ds_[0-9a-z]{26}$")]
    parts: Annotated[tuple[Part, ...], Field(min_length=1, max_length=3)]


TrainedOn = SeenParts | Literal["disjoint", "unknown"]


class TrainHere(Frozen):
    """The service trains this teacher with labels alone."""

    dataset: Annotated[str, Field(pattern=r"^ds_[0-9a-z]{26}$")]
    training: TrainingSpec = TrainingSpec()
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0


class Outputs(Frozen):
    """What a teacher says of a dataset's rows: all that is known of a black box.

    The blob is an npz: `outputs` (rows, classes), or (rows,) for labels, and, if the dataset has
    ids, `ids` (rows,); without them the rows are in source order.
    """

    dataset: Annotated[str, Field(pattern=r"^ds_[0-9a-z]{26}$")]
    blob: Sha256
    kind: Literal["logits", "probabilities", "labels"]


class OutputsFamily(Frozen):
    """The network of a teacher that is known by its outputs alone."""

    family: Literal["outputs"]


def _weights(value: Any) -> Any:
    if isinstance(value, dict):
        kinds = [key for key in ("blob", "uri", "files") if key in value]
        if len(kinds) > 1:
            message = f"weights name {' and '.join(kinds)}; take one"
            raise ValueError(message)
    return value


class TeacherSpec(Frozen):
    """A teacher to be taken in: from bytes, from a Hub folder, or trained here."""

    name: Name
    network: NetworkSpec | OutputsFamily | None = None
    """Required, unless `weights.files` brings a config.json that says it."""
    weights: Annotated[BlobRef | UriRef | FilesRef, BeforeValidator(_weights)] | None = None
    input: AnyInput | None = None
    classes: ClassNames | None = None
    trained_on: TrainedOn = "unknown"
    train: TrainHere | None = None
    outputs: Outputs | None = None
    metadata: Metadata = Field(default_factory=dict)

    @model_validator(mode="after")
    def _weights_come_from_somewhere(self) -> TeacherSpec:
        if sum(source is not None for source in (self.weights, self.train, self.outputs)) != 1:
            message = "give one of 'weights', 'train' and 'outputs'"
            raise ValueError(message)
        if (self.outputs is None) == isinstance(self.network, OutputsFamily):
            message = "'outputs' and the family 'outputs' belong together"
            raise ValueError(message)
        if self.network is None and not isinstance(self.weights, FilesRef | UriRef):
            message = "'network' is required: the bytes alone don't say the architecture"
            raise ValueError(message)
        if self.classes is not None and len(set(self.classes)) != len(self.classes):
            message = "'classes' names a class twice"
            raise ValueError(message)
        if self.train is not None and self.trained_on != "unknown":
            message = "'trained_on' is known for a teacher that is trained here; leave it out"
            raise ValueError(message)
        return self
