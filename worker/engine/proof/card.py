"""A student's model card: README.md as the Hub reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stillhouse.spec import AnyInput, NetworkSpec
from worker.engine.proof import usage
from worker.engine.proof.arms import Trained

_COLUMNS = ("accuracy", "balanced_accuracy", "macro_f1", "loss", "ece", "brier")
_LIBRARIES = {"timm": "timm", "transformers": "transformers", "builtin": "pytorch"}
_TASKS = {
    "image": "image-classification",
    "text": "text-classification",
    "tabular": "tabular-classification",
    "sequence": "time-series-classification",
}


@dataclass(frozen=True, slots=True)
class Subject:
    """The student of a card, and where it comes from."""

    trained: Trained
    network: NetworkSpec
    fed: AnyInput
    classes: int
    job: str
    teachers: tuple[str, ...]
    """What its sentences call them."""
    dataset: str
    version: str


def make(subject: Subject, result: dict[str, Any], *, opened: str) -> str:
    """Write a student's card.

    Args:
        subject: The student.
        result: The job's result.
        opened: How often the test part was read before, as a sentence.

    Returns:
        Markdown with a YAML front matter.
    """
    sections = (
        _front_matter(subject),
        _origin(subject),
        _figures(subject.trained),
        _verdict(subject.trained, result, opened=opened),
        _cost(subject.trained),
        usage.section(subject.network, subject.fed, classes=subject.classes),
        _warnings(result),
    )
    return "\n\n".join(section for section in sections if section) + "\n"


def _front_matter(subject: Subject) -> str:
    task = _TASKS[subject.fed.modality]
    lines = (
        "---",
        f"library_name: {_LIBRARIES[subject.network.family]}",
        f"pipeline_tag: {task}",
        "tags:",
        f"- {task}",
        "- knowledge-distillation",
        "- stillhouse",
        "---",
    )
    return "\n".join(lines)


def _origin(subject: Subject) -> str:
    trained = subject.trained
    how = "trained with labels alone"
    if trained.arm == "distilled":
        how = f"distilled from {', '.join(subject.teachers)}"
    elif subject.teachers:
        how = f"a control ({trained.arm}), trained without the teacher"
    return (
        f"# {trained.student}, {trained.arm}, seed {trained.seed}\n\n"
        f"`{subject.network.name}` ({subject.network.family}), {how}, on dataset "
        f"{subject.dataset}, by job {subject.job} of Stillhouse {subject.version}."
    )


def _figures(trained: Trained) -> str:
    columns = [name for name in _COLUMNS if name in trained.figures["train"]]
    head = " | ".join(["part", *columns])
    rule = " | ".join(["---", *("---:" for _ in columns)])
    rows = [
        " | ".join([part, *(f"{figures[name]:.4f}" for name in columns)])
        for part, figures in trained.figures.items()
        if figures
    ]
    lines = [f"| {line} |" for line in (head, rule, *rows)]
    notes = ["Measured on the files of this folder, in float32, without augmentation."]
    if trained.gap is not None:
        notes.append(f"Gap (train less test accuracy): {trained.gap:+.4f}.")
    if trained.agreement is not None and trained.divergence is not None:
        notes.append(
            f"On test it names the teacher's class for {trained.agreement:.4f} of the items; "
            f"KL(teacher, student) is {trained.divergence:.4f} nats."
        )
    notes.append("All digits are in `report.json`; `predictions.npz` holds the test outputs.")
    return "\n".join(["## Figures", "", *lines, "", " ".join(notes)])


def _verdict(trained: Trained, result: dict[str, Any], *, opened: str) -> str:
    sentences = [
        f"* {comparison['sentence']}"
        for comparison in result["comparisons"]
        if _is_about(comparison, trained)
    ]
    if not sentences:
        return f"## What the teacher was worth\n\nNot compared with a control. {opened}"
    return "\n".join(["## What the teacher was worth", "", *sentences, "", opened])


def _is_about(comparison: dict[str, Any], trained: Trained) -> bool:
    """Whether a comparison has a student on either of its sides."""
    side = "variant" if trained.arm == comparison["arm"] else "control_variant"
    arms = (comparison["arm"], comparison["against"])
    return (
        comparison["student"] == trained.student
        and trained.arm in arms
        and comparison[side] == trained.variant
    )


def _cost(trained: Trained) -> str:
    latencies = [
        f"* batch {item['batch']}: median {item['median_ms']:.3f} ms, 95th percentile "
        f"{item['p95_ms']:.3f} ms on {item['hardware']} ({item['threads']} threads)"
        for item in trained.latency
    ]
    size = (
        f"{trained.parameters:,} parameters, {trained.macs:,} multiply-accumulates an item, "
        f"{trained.bytes:,} bytes of weights."
    )
    return "\n".join(["## Size and speed", "", size, "", *latencies])


def _warnings(result: dict[str, Any]) -> str:
    lines = [f"* {warning['message']}" for warning in result["warnings"]]
    return "\n".join(["## Caveats", "", *lines]) if lines else ""
