"""`python -m benchmarks.loop`: a training step of ours beside the same step written by hand.

Same network, batch, loss, optimizer and clipping; the steps take turns. The bare loop has its
pixels normalised and the teacher's outputs computed beforehand; ours reads uint8 pixels by index,
feeds them, seeds every step and looks whether the loss is finite.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks import table
from benchmarks.table import Finding, Measured, Report
from stillhouse.spec import (
    AdamW,
    FeatureHint,
    InputSpec,
    Labels,
    LayerPair,
    NetworkSpec,
    ObjectiveTerm,
    Schedule,
    SoftTargets,
    StudentSpec,
)
from worker.engine import course, features, networks, panel, train
from worker.engine import state as states
from worker.engine import teacher as teachers
from worker.engine.data import feed
from worker.engine.data.feed import Feed
from worker.engine.data.parts import Part
from worker.engine.recipe import Recipe
from worker.engine.teacher import Teacher
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
_LAYER = "layer3"
_WIDTH = 64
_OUTPUTS = (Labels(kind="labels"), SoftTargets(kind="soft_targets", temperature=_TEMPERATURE))
_HINT = FeatureHint(kind="feature_hint", layer=LayerPair(student=_LAYER, teacher=_LAYER))
_CASES: dict[str, tuple[str, tuple[ObjectiveTerm, ...]]] = {
    "mlp": ("mlp", _OUTPUTS),
    "resnet8": ("resnet8", _OUTPUTS),
    "resnet8 and a hint": ("resnet8", (*_OUTPUTS, _HINT)),
}
Bare = Callable[[Tensor, Tensor, Tensor], Tensor]
"""Pixels, labels, rows -> loss."""


def measure(*, steps: int = STEPS) -> Report:
    """Time steps of an MLP and of a residual network, with outputs and with activations."""
    torch.set_num_threads(1)
    part = _part()
    measured: list[Measured] = []
    findings: list[Finding] = []
    for name in _CASES:
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
    network, terms = _CASES[name]
    fed = feed.make(_INPUT, device=_CPU)
    spec = NetworkSpec(family="builtin", name=network)
    teacher = teachers.of_network(_network(network), spec=spec, fed=_INPUT, feed=fed, id="tch")
    loops = (_ours(spec, terms, part, fed, teacher), _bare(spec, terms, part, fed, teacher))
    milliseconds: tuple[list[float], list[float]] = ([], [])
    for step in range(steps + _WARM_STEPS):
        for place, loop in enumerate(loops):
            seconds = next(loop)
            if step >= _WARM_STEPS:
                milliseconds[place].append(seconds * _MS)
    ours, bare = milliseconds
    return Measured(f"{name}, ours", ours, "ms"), Measured(f"{name}, bare", bare, "ms")


def _ours(
    spec: NetworkSpec, terms: tuple[ObjectiveTerm, ...], part: Part, fed: Feed, teacher: Teacher
) -> Iterator[float]:
    """Seconds of each step of the engine's loop."""
    student = StudentSpec(name="s", network=spec, input=_INPUT)
    chosen = course.of_parts(
        {"train": part, "validation": part.head(_BATCH)},
        recipe=_RECIPE,
        fed=fed,
        device=_CPU,
        classes=_CLASSES,
        seed=0,
    ).taught_by(panel.of_teacher(teacher), terms, student)
    network = _network(spec.name)
    state = states.begin(network, chosen.objective(network, student), recipe=_RECIPE)
    began = time.perf_counter()
    for event in train.distill(state, course=chosen):
        if isinstance(event, Step):
            yield time.perf_counter() - began
        began = time.perf_counter()


def _bare(
    spec: NetworkSpec, terms: tuple[ObjectiveTerm, ...], part: Part, fed: Feed, teacher: Teacher
) -> Iterator[float]:
    """Seconds of each step of a loop as one writes it by hand."""
    pixels = fed(torch.from_numpy(part.x))
    labels = torch.from_numpy(part.labels)
    network = _network(spec.name)
    projector = nn.Sequential(nn.Conv2d(_WIDTH, _WIDTH, 1, bias=False), nn.BatchNorm2d(_WIDTH))
    loss = _loss(network, projector, pixels, teacher, has_hint=_HINT in terms)
    learned = [*network.parameters(), *(projector.parameters() if _HINT in terms else ())]
    optimizer = torch.optim.AdamW(learned, lr=_LR, weight_decay=0.05, fused=True)
    network.train()
    while True:
        for rows in torch.split(torch.randperm(len(labels)), _BATCH):
            began = time.perf_counter()
            optimizer.zero_grad()
            loss(pixels[rows], labels[rows], rows).backward()  # type: ignore[no-untyped-call]  # torch leaves it untyped
            nn.utils.clip_grad_norm_(network.parameters(), _CLIP)
            optimizer.step()
            yield time.perf_counter() - began


def _loss(
    network: nn.Module, projector: nn.Module, pixels: Tensor, teacher: Teacher, *, has_hint: bool
) -> Bare:
    layers = (_LAYER,) if has_hint else ()
    seen: dict[str, Tensor] = {}
    if has_hint:
        network.get_submodule(_LAYER).register_forward_hook(
            lambda _module, _given, output: seen.update({_LAYER: output})
        )
    with torch.no_grad(), features.capture(teacher.network, layers) as theirs:
        targets = F.softmax(teacher.network(pixels) / _TEMPERATURE, dim=1)

    def compute(x: Tensor, y: Tensor, rows: Tensor) -> Tensor:
        logits = network(x)
        softened = F.log_softmax(logits / _TEMPERATURE, dim=1)
        loss = F.cross_entropy(logits, y)
        loss = loss + F.kl_div(softened, targets[rows], reduction="batchmean") * _TEMPERATURE**2
        if has_hint:
            loss = loss + _HINT.weight * F.mse_loss(projector(seen[_LAYER]), theirs[_LAYER][rows])
        return loss

    return compute


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
