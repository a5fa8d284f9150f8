"""Every network of a job, reloaded from its served files and measured under one set of rules."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from stillhouse.spec import AnyInput, NetworkSpec, ResolvedJob, StudentSpec
from worker.engine import networks, recipe, recorded, teacher
from worker.engine.data import feed
from worker.engine.data.feed import Feed
from worker.engine.data.parts import Part
from worker.engine.proof import caveats, evaluation, exports, latency, metrics, predictions
from worker.engine.proof.arms import Trained
from worker.engine.proof.evaluation import Evaluation
from worker.engine.serving import onnx_export, served, student_folder
from worker.protocol import TeacherFiles, TrainedStudent

PREDICTIONS = "predictions.npz"


@dataclass(frozen=True, slots=True)
class Bench:
    """Where everything is measured."""

    specs: Mapping[str | None, ResolvedJob]
    """By variant; under None the first one's, for what all variants share."""
    dataset: str
    classes: int
    parts: dict[str, Part]
    """Those with rows."""
    device: torch.device
    files: dict[str, str]
    """Tokenizers' files by SHA-256."""
    work: Path
    advance: Callable[[], None]
    """Called after each batch of each network; it may raise to stop."""

    @property
    def spec(self) -> ResolvedJob:
        """For what no sweep changes: who is there, the seeds, the metric that selects."""
        return self.specs[None]

    def network_of(self, student: str, variant: str | None) -> NetworkSpec:
        """A student's architecture, by its name in the job."""
        return recipe.network(self._student(student, variant))

    def input_of(self, student: str, variant: str | None) -> AnyInput:
        """What a student is fed, by its name in the job."""
        return recipe.fed(self._student(student, variant))

    def _student(self, name: str, variant: str | None) -> StudentSpec:
        return next(student for student in self.specs[variant].students if student.name == name)


@dataclass(frozen=True, slots=True)
class MeasuredTeacher:
    """A teacher's figures, and its outputs as the reference for students."""

    figures: dict[str, Any]
    """An object of `result.teachers`."""
    test_logits: Tensor | None
    items: int
    """Rows that it was run on."""


def of_teacher(bench: Bench, files: TeacherFiles) -> MeasuredTeacher:
    """Measure a teacher on all parts, in the dataset's class order.

    One that is known by its outputs is looked up; it has no size and no latency.
    """
    if files["weights"] is None:
        return _of_recorded(bench, files)
    asked = teacher.load(files, classes=bench.classes, device=bench.device, inputs=bench.files)
    found = _evaluate(bench, asked.network, asked.feed)
    parameters, macs = networks.measure(asked.network, asked.input)
    meaningful = caveats.is_gap_meaningful(files, dataset=bench.dataset)
    figures = {
        "id": files["id"],
        **found.figures,
        "gap": found.gap if meaningful else None,
        "parameters": parameters,
        "macs": macs,
        "bytes": files["bytes"],
        "latency": latency.measure(asked.network, fed=asked.input, device=bench.device),
    }
    return MeasuredTeacher(figures, found.test_logits, found.items)


def _of_recorded(bench: Bench, files: TeacherFiles) -> MeasuredTeacher:
    said = recorded.load(files, classes=bench.classes)
    outputs = {name: said.look_up(part) for name, part in bench.parts.items()}
    scores: dict[str, dict[str, float]] = {name: {} for name in evaluation.PARTS}
    for name, logits in outputs.items():
        scores[name] = metrics.score(logits, evaluation.labels(bench.parts[name]))
    found = Evaluation(scores, outputs.get("test"), items=0)
    meaningful = caveats.is_gap_meaningful(files, dataset=bench.dataset)
    figures: dict[str, Any] = {
        "id": files["id"],
        **found.figures,
        "gap": found.gap if meaningful else None,
        "parameters": None,
        "macs": None,
        "bytes": files["bytes"],
        "latency": [],
    }
    return MeasuredTeacher(figures, found.test_logits, found.items)


def of_students(
    bench: Bench, students: list[TrainedStudent], *, reference: Tensor | None
) -> list[Trained]:
    """Measure students one after another and write each one's predictions.

    Args:
        bench: Where.
        students: What the train runs left.
        reference: (rows, classes), the first teacher's outputs on test, if there are any.

    Returns:
        The students, in the order given.
    """
    latencies: dict[str, list[dict[str, Any]]] = {}
    timed: dict[str, list[dict[str, Any]]] = {}
    measured: list[Trained] = []
    for student in students:
        fed = bench.input_of(student["student"], student["variant"])
        spec = bench.network_of(student["student"], student["variant"])
        network = _reload(bench, student, spec, fed)
        shape = f"{student['student']} {spec} {fed}"
        if shape not in latencies:
            latencies[shape] = latency.measure(network, fed=fed, device=bench.device)
        found = _evaluate(bench, network, feed.make(fed, device=bench.device, files=bench.files))
        costs = networks.measure(network, fed)
        one = _trained(
            bench, student, found, reference=reference, costs=costs, timings=latencies[shape]
        )
        exported = _exports(bench, student, fed, found.test_logits, timed.get(shape))
        if exported:
            timed[shape] = exported[0]["latency"]
        measured.append(replace(one, exports=exported))
    return measured


def _exports(
    bench: Bench,
    student: TrainedStudent,
    fed: AnyInput,
    logits: Tensor | None,
    timings: list[dict[str, Any]] | None,
) -> tuple[dict[str, Any], ...]:
    path = student["files"].get(onnx_export.FILE)
    if path is None:
        return ()
    plain = feed.make(fed, device=torch.device("cpu"), files=bench.files)
    part = bench.parts.get("test")
    found = exports.measure_onnx(
        Path(path), fed=fed, feed=plain, part=part, logits=logits, timings=timings
    )
    return (found,)


def _reload(bench: Bench, student: TrainedStudent, spec: NetworkSpec, fed: AnyInput) -> nn.Module:
    network = served.load(
        student["files"],
        spec=spec,
        fed=fed,
        classes=bench.classes,
        folder=bench.work / "reloaded" / student["id"],
    )
    return network.to(bench.device)


def _evaluate(bench: Bench, network: nn.Module, fed: Feed) -> Evaluation:
    return evaluation.make(network, bench.parts, fed, device=bench.device, each=bench.advance)


def _trained(
    bench: Bench,
    student: TrainedStudent,
    found: Evaluation,
    *,
    reference: Tensor | None,
    costs: tuple[int, int],
    timings: list[dict[str, Any]],
) -> Trained:
    correct, losses = _publish(bench, student["id"], found.test_logits)
    agreement, divergence = _likeness(found.test_logits, reference)
    parameters, macs = costs
    return Trained(
        id=student["id"],
        student=student["student"],
        arm=student["arm"],
        variant=student["variant"],
        seed=student["seed"],
        figures=found.figures,
        gap=found.gap,
        correct=correct,
        losses=losses,
        agreement=agreement,
        divergence=divergence,
        parameters=parameters,
        macs=macs,
        bytes=Path(student["files"][student_folder.WEIGHTS]).stat().st_size,
        latency=timings,
    )


def _publish(
    bench: Bench, student: str, logits: Tensor | None
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
    """Write the predictions at once and keep two numbers an item, not all outputs."""
    folder = bench.work / student
    folder.mkdir()
    if logits is None:
        return np.empty(0, dtype=np.bool_), np.empty(0)
    part = bench.parts["test"]
    predictions.write(folder / PREDICTIONS, part=part, logits=logits)
    labels = evaluation.labels(part)
    return metrics.correct(logits, labels), metrics.losses(logits, labels)


def _likeness(logits: Tensor | None, reference: Tensor | None) -> tuple[float | None, float | None]:
    if logits is None or reference is None:
        return None, None
    return metrics.agreement(logits, reference), metrics.divergence(logits, reference)
