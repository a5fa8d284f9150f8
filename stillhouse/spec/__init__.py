"""The vocabulary: what may be asked for, as data and nothing else.

The same classes are read by the API, the worker, the client and the CLI.
"""

from stillhouse.spec.base import Frozen, Metadata, Name, Sha256
from stillhouse.spec.dataset import Columns, DatasetSpec, PartSources, Splits
from stillhouse.spec.job import (
    METRICS,
    MINIMISED,
    JobSpec,
    Limits,
    ResolvedJob,
    Resources,
    StudentSpec,
    TeacherRef,
    default_objective,
)
from stillhouse.spec.network import BlobRef, FilesRef, InputSpec, NetworkSpec, UriRef
from stillhouse.spec.objective import Labels, ObjectiveTerm, SoftTargets
from stillhouse.spec.teacher import SeenParts, TeacherSpec, TrainHere
from stillhouse.spec.training import (
    AdamW,
    Augment,
    Crop,
    Flip,
    Optimizer,
    Schedule,
    Sgd,
    TrainingSpec,
)

__all__ = [
    "METRICS", "MINIMISED", "AdamW", "Augment", "BlobRef", "Columns", "Crop", "DatasetSpec",
    "FilesRef", "Flip", "Frozen", "InputSpec", "JobSpec", "Labels", "Limits", "Metadata", "Name",
    "NetworkSpec", "ObjectiveTerm", "Optimizer", "PartSources", "ResolvedJob", "Resources",
    "Schedule", "SeenParts", "Sgd", "Sha256", "SoftTargets", "Splits", "StudentSpec", "TeacherRef",
    "TeacherSpec", "TrainHere", "TrainingSpec", "UriRef", "default_objective",
]  # fmt: skip
