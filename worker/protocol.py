"""What supervisor and child say to each other: one JSON object a line, over pipes.

    supervisor -> trainer   stdin: an `Assignment`, or {"type": "stop"}
    trainer -> supervisor   the descriptor in STILLHOUSE_MESSAGE_FD: a `Message`

The child has no database and no credentials; files are named by path. Standard
output and standard error of the child are its log.
"""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

MESSAGE_FD_VARIABLE = "STILLHOUSE_MESSAGE_FD"
PARENT_VARIABLE = "STILLHOUSE_PARENT_PID"
"""The supervisor's process; intake ends with it."""


class TeacherFiles(TypedDict):
    """A ready teacher, as the trainer sees it."""

    id: str
    network: dict[str, Any]
    """A NetworkSpec."""
    input: dict[str, Any]
    """An `stillhouse.spec.AnyInput`."""
    classes: list[str] | None
    class_order: list[int] | None
    """Dataset class c is the teacher's output class_order[c]; None: in the same order."""
    trained_on: Any
    weights: str | None
    """Path of a safetensors file, our own; None for a teacher that is known by its outputs."""
    outputs: str | None
    """Path of an npz, our own: `outputs` (n, classes) float32 logits, in log space in any case,
    and `rows` (n,) int64, the dataset's row numbers."""
    outputs_kind: Literal["logits", "probabilities", "labels"] | None
    bytes: int


class DatasetFiles(TypedDict):
    """A ready dataset. `parts` holds only what this run may read."""

    id: str
    classes: list[str]
    fingerprint: str
    parts: dict[str, str]
    """Part name -> path of an uncompressed npz (see `worker.engine.data.parts`)."""


class TrainedStudent(TypedDict):
    """A student that a train run left, for the report run."""

    id: str
    student: str
    arm: str
    variant: str | None
    fold: int | None
    seed: int
    files: dict[str, str]
    """Listed path -> path on this machine (model.safetensors, config.json, exports)."""
    result: dict[str, Any]
    """What the train run's `succeeded` message carried."""


class VariantSpec(TypedDict):
    """A job's spec with one combination of its sweep's values in it."""

    name: str | None
    """None: the job has no sweep."""
    changes: dict[str, Any]
    """JSON pointer into the spec -> value."""
    spec: dict[str, Any]
    """A `stillhouse.spec.ResolvedJob`."""


class Assignment(TypedDict):
    """One run for the trainer."""

    type: Literal["run"]
    kind: Literal["estimate", "prepare", "train", "report"]
    run: str
    job: str
    job_kind: Literal["distill", "train"]
    spec: dict[str, Any]
    """A `stillhouse.spec.ResolvedJob`: that of a train run's variant, else the first variant's."""
    variants: list[VariantSpec]
    """prepare, estimate, report: every variant, a single one without a name if there is no sweep;
    train: none. A prepare run's `result["networks"]` is {variant's name or "": {student:
    NetworkSpec}}, of those that `shrink` has made."""
    student: str | None
    arm: str | None
    variant: str | None
    seed: int | None
    teachers: list[TeacherFiles]
    """In the spec's order, those that have an id."""
    dataset: DatasetFiles
    transfer: list[DatasetFiles]
    """Unlabelled sets: their `train` part alone."""
    files: dict[str, str]
    """What inputs and students name by SHA-256 (tokenizers, given weights) -> path."""
    students: list[TrainedStudent]
    prepared: dict[str, Any] | None
    """What the prepare run's `succeeded` message carried."""
    missing: list[dict[str, Any]]
    """Train runs that failed: {student, arm, seed, code, detail}."""
    context: dict[str, Any]
    """For cards and reports: {job_name, created_at, version, test_opened, warnings}."""
    work: str
    """An empty folder of this run and fence; what is published is moved out of it."""
    checkpoint: str | None
    """Path of the newest verified checkpoint folder's file, or None."""
    checkpoint_seconds: float
    device: str
    threads: int


class IntakeLimits(TypedDict, total=False):
    """What one intake may use; what is absent has `worker.sandbox`'s default."""

    memory_bytes: int
    """Beyond what the interpreter and its libraries take themselves."""
    cpu_seconds: int
    decoded_bytes: int
    """All pixels after decoding, or all tensors, and each file that is written."""


class IntakeAssignment(TypedDict):
    """One intake: untrusted bytes that shall become our own. The child of `worker.sandbox`."""

    type: Literal["intake"]
    kind: Literal["teacher", "dataset"]
    spec: dict[str, Any]
    """A TeacherSpec or a DatasetSpec."""
    sources: dict[str, str]
    """Paths. Teacher: {"weights"} or a Hub folder's file names, or {"outputs"} with the dataset's
    "splits.json" and, if it has them, "ids.npz"; dataset: {"source"} or parts."""
    dataset_classes: NotRequired[list[str]]
    """Of the dataset that a teacher's outputs are about."""
    work: str
    """An empty folder; what is published is moved out of it."""
    limits: IntakeLimits


class File(TypedDict):
    """A file that the child wrote, hashed and fsynced in its work folder."""

    path: str
    """The name it is listed under."""
    file: str
    """Where it lies now."""
    sha256: str
    bytes: int


class Message(TypedDict):
    """What a child reports. Which fields are there depends on `type`."""

    type: Literal[
        "ready", "progress", "metrics", "event", "checkpoint", "succeeded", "failed", "stopped"
    ]
    step: NotRequired[int]
    steps: NotRequired[int]
    epoch: NotRequired[int]
    points: NotRequired[list[tuple[str, int, float]]]
    """metrics: (name, step, value)."""
    level: NotRequired[Literal["info", "warn", "error"]]
    code: NotRequired[str]
    detail: NotRequired[str]
    field: NotRequired[str | None]
    extra: NotRequired[dict[str, Any]]
    file: NotRequired[File]
    """checkpoint: the file."""
    files: NotRequired[list[File]]
    """succeeded: what is to be published."""
    result: NotRequired[dict[str, Any]]
    """succeeded: JSON without NaN or infinities (null instead)."""
