"""`python -m benchmarks.loop`: a training step of ours beside the same step written by hand.

Same network, batch, loss, optimizer and clipping; the steps take turns. The bare loop has its
pixels normalised and the teacher's logits computed beforehand; ours reads uint8 pixels by index,
feeds them, seeds every step and looks whether the loss is finite.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks import table
from benchmarks.table import Finding, Measured, Report
from stillhouse.spec import AdamW, InputSpec, Labels, NetworkSpec, Schedule, SoftTargets
from worker.engine import networks, train
from worker.engine import state as states
from worker.engine.course import Course
from worker.engine.data import feed
from worker.engine.data.feed import Feed
from worker.engine.data.parts import Part
from worker.engine.objective import Objective
from worker.engine.recipe import Recipe
from worker.engine.teacher import Teacher
from worker.engine.teacher_outputs import TeacherOutputs
from worker.engine.train import Step

STEPS = 300
_WARM_STEPS = 20
_CPU = torch.device("cpu")
_ROWS, _BATCH, _CLASSES, _SIDE = 2048, 64, 10, 8
_TEMPERATURE, _LR, _CLIP = 4.0, 2e-3, 1.0
_MS = 1000.0
_INPUT = InputSpec(size=(_SIDE, _SIDE), channels="gray", mean=(0.5,), std=(0.5,))
_RECIPE = Recipe(
    epochs=10_000,
    batch_size=_BATCH,
    optimizer=AdamW(kind="adamw"),
    lr=_LR,
    schedule=Schedule(kind="constant"),
    augment=(),
    views=1,
    view_seed=0,
    precision="fp32",
    deterministic=False,
    clip_norm=_CLIP,
    metric="accuracy",
)


def measure(*, steps: int = STEPS) -> Report:
    """Time steps of an MLP and of a residual network."""
    torch.set_num_threads(1)
    part = _part()
    measured: list[Measured] = []
    findings: list[Finding] = []
    for name in ("mlp", "resnet8"):
        ours, bare = _in_turn(name, part, steps=steps)
        measured += [ours, bare]
        findings.append(table.ratio(f"{name}, ours / bare", ours, bare))
    return Report(
        f"Loop: a step of batch {_BATCH} on {_SIDE}×{_SIDE} pixels, one thread",
        measured=tuple(measured),
        findings=tuple(findings),
        note="Loss: labels and soft targets whose teacher's outputs are there.",
    )


def _in_turn(name: str, part: Part, *, steps: int) -> tuple[Measured, Measured]:
    fed = feed.make(_INPUT, device=_CPU)
    teacher = Teacher("tch", _network("mlp").eval().requires_grad_(False), fed, _INPUT)  # noqa: FBT003  torch's own
    loops = (_ours(_network(name), part, fed, teacher), _bare(_network(name), part, fed, teacher))
    milliseconds: tuple[list[float], list[float]] = ([], [])
    for step in range(steps + _WARM_STEPS):
        for place, loop in enumerate(loops):
            seconds = next(loop)
            if step >= _WARM_STEPS:
                milliseconds[place].append(seconds * _MS)
    ours, bare = milliseconds
    return Measured(f"{name}, ours", ours, "ms"), Measured(f"{name}, bare", bare, "ms")


def _ours(network: nn.Module, part: Part, fed: Feed, teacher: Teacher) -> Iterator[float]:
    """Seconds of each step of the engine's loop."""
    placed = fed.place(part, device=_CPU)
    course = Course(
        recipe=_RECIPE,
        terms=(
            Labels(kind="labels"),
            SoftTargets(kind="soft_targets", temperature=_TEMPERATURE),
        ),
        seed=0,
        source=placed,
        labels=torch.from_numpy(part.labels),
        validation=Part(part.x[:_BATCH], part.labels[:_BATCH], part.rows[:_BATCH]),
        feed=fed,
        teacher=TeacherOutputs(teacher=teacher, source=placed, recipe=_RECIPE, remembers=True),
    )
    events = train.distill(
        states.begin(network, Objective(course.terms), recipe=_RECIPE), course=course
    )
    began = time.perf_counter()
    for event in events:
        if isinstance(event, Step):
            yield time.perf_counter() - began
        began = time.perf_counter()


def _bare(network: nn.Module, part: Part, fed: Feed, teacher: Teacher) -> Iterator[float]:
    """Seconds of each step of a loop as one writes it by hand."""
    pixels = fed(torch.from_numpy(part.x))
    labels = torch.from_numpy(part.labels)
    with torch.no_grad():
        targets = F.softmax(teacher.network(pixels) / _TEMPERATURE, dim=1)
    optimizer = torch.optim.AdamW(network.parameters(), lr=_LR, weight_decay=0.05, fused=True)
    network.train()
    while True:
        for rows in torch.split(torch.randperm(len(labels)), _BATCH):
            began = time.perf_counter()
            _step(network, optimizer, pixels[rows], labels[rows], targets[rows])
            yield time.perf_counter() - began


def _step(
    network: nn.Module, optimizer: torch.optim.Optimizer, x: Tensor, y: Tensor, soft: Tensor
) -> None:
    logits = network(x)
    softened = F.log_softmax(logits / _TEMPERATURE, dim=1)
    loss = F.cross_entropy(logits, y)
    loss = loss + F.kl_div(softened, soft, reduction="batchmean") * _TEMPERATURE**2
    optimizer.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
    nn.utils.clip_grad_norm_(network.parameters(), _CLIP)
    optimizer.step()


def _network(name: str) -> nn.Module:
    torch.manual_seed(0)
    spec = NetworkSpec(family="builtin", name=name)
    return networks.build(spec, classes=_CLASSES, fed=_INPUT)


def _part() -> Part:
    chance = np.random.default_rng(0)
    return Part(
        x=chance.integers(0, 256, (_ROWS, _SIDE, _SIDE, 1), dtype=np.uint8),
        labels=chance.integers(0, _CLASSES, _ROWS, dtype=np.int64),
        rows=np.arange(_ROWS, dtype=np.int64),
    )


def main() -> int:
    """Measure and print."""
    report = measure()
    table.show(report)
    return 0 if report.holds else 1


if __name__ == "__main__":
    sys.exit(main())
