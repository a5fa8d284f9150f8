"""The vocabulary: what may be asked for, as data and nothing else.

The same classes are read by the API, the worker, the client and the CLI.
"""

from stillhouse.spec.base import Frozen, Metadata, Name, Sha256
from stillhouse.spec.dataset import Columns, DatasetSpec, PartSources, Splits
from stillhouse.spec.input import (
    AnyInput,
    CategoryColumn,
    InputSpec,
    Modality,
    NumberColumn,
    SequenceInput,
    TableInput,
    TextInput,
)
from stillhouse.spec.job import (
    METRICS,
    MINIMISED,
    JobSpec,
    Limits,
    OnnxExport,
    ResolvedJob,
    Resources,
    Sweep,
    default_objective,
)
from stillhouse.spec.network import BlobRef, FilesRef, NetworkSpec, Shrink, UriRef
from stillhouse.spec.objective import (
    AttentionMaps,
    Contrastive,
    Correlation,
    Decoupled,
    FeatureHint,
    HardTargets,
    Labels,
    LayerPair,
    ObjectiveTerm,
    ParameterRatio,
    Relations,
    Review,
    Similarity,
    SoftTargets,
    VirtualTeacher,
)
from stillhouse.spec.student import (
    GivenInit,
    RandomInit,
    StudentSpec,
    TeacherInit,
)
from stillhouse.spec.teacher import Outputs, OutputsFamily, SeenParts, TeacherSpec, TrainHere
from stillhouse.spec.teaching import (
    AnyTeacher,
    Assistant,
    Expect,
    SelfTeacher,
    TeacherRef,
    TrainedTeacher,
)
from stillhouse.spec.training import (
    AdamW,
    Augment,
    Crop,
    CutMix,
    EarlyStopping,
    Ema,
    Flip,
    Mixup,
    Muon,
    Optimizer,
    Schedule,
    Sgd,
    TrainingSpec,
)

__all__ = [
    "METRICS", "MINIMISED", "AdamW", "AnyInput", "AnyTeacher", "Assistant", "AttentionMaps",
    "Augment", "BlobRef", "CategoryColumn", "Columns", "Contrastive", "Correlation", "Crop",
    "CutMix", "DatasetSpec", "Decoupled", "EarlyStopping", "Ema", "Expect", "FeatureHint",
    "FilesRef", "Flip", "Frozen", "GivenInit", "HardTargets", "InputSpec", "JobSpec", "Labels",
    "LayerPair", "Limits", "Metadata", "Mixup", "Modality", "Muon", "Name", "NetworkSpec",
    "NumberColumn", "ObjectiveTerm", "OnnxExport", "Optimizer", "Outputs", "OutputsFamily",
    "ParameterRatio", "PartSources", "RandomInit", "Relations", "ResolvedJob", "Resources",
    "Review", "Schedule", "SeenParts", "SelfTeacher", "SequenceInput", "Sgd", "Sha256", "Shrink",
    "Similarity", "SoftTargets", "Splits", "StudentSpec", "Sweep", "TableInput", "TeacherInit",
    "TeacherRef", "TeacherSpec", "TextInput", "TrainHere", "TrainedTeacher", "TrainingSpec",
    "UriRef", "VirtualTeacher", "default_objective",
]  # fmt: skip
