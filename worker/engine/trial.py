"""A short trial of each network of a job: what it costs on this device, and whether it runs."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from stillhouse.errors import InputRejected, RunFailed
from stillhouse.spec import StudentSpec
from worker.engine import device, networks, predict, recipe, seeds, train
from worker.engine import state as states
from worker.engine.course import Course, of_parts
from worker.engine.data import feed
from worker.engine.data.parts import Part
from worker.engine.proof import metrics
from worker.engine.recipe import Recipe
from worker.engine.recorded import Recorded
from worker.engine.teacher import Teacher
from worker.engine.train import Notice, Step

Pulse = Callable[[int], None]
"""Takes how many networks were finished since; it may raise to stop."""

_SECONDS = 0.1
_LONGEST_SECONDS = 1.0
_MAX_STEPS = 50
_TEACHER_BATCH = 128


@dataclass(frozen=True, slots=True)
class Bench:
    """Where networks are tried."""

    recipe: Recipe
    parts: dict[str, Part]
    """`train` and `validation`."""
    classes: int
    device: torch.device
    files: dict[str, str]
    """Tokenizers' files by SHA-256."""
    pulse: Pulse


def of_student(bench: Bench, student: StudentSpec, *, field: str) -> dict[str, Any]:
    """Build a student, take a few real steps, and throw it away.

    Args:
        bench: Where.
        student: The student.
        field: Where it stands in the job's specification.

    Returns:
        parameters, macs, bytes (of its tensors) and step_seconds (null if no step was timed).
    """
    fed = recipe.fed(student)
    network = build(student, seed=0, classes=bench.classes, device=bench.device, field=field)
    parameters, macs = networks.measure(network, fed)
    size = sum(t.numel() * t.element_size() for t in network.state_dict().values())
    seconds = _time_steps(bench, network, student, field=field)
    return {"parameters": parameters, "macs": macs, "bytes": size, "step_seconds": seconds}


def build(
    student: StudentSpec,
    *,
    seed: int,
    classes: int,
    device: torch.device,
    field: str,
    draw: int = 0,
) -> nn.Module:
    """A student's network with the initial weights of a seed, the same in every arm."""
    fed = recipe.fed(student)
    torch.manual_seed(seeds.derive(seed, "weights", draw))
    network = networks.build(
        recipe.network(student),
        classes=classes,
        fed=fed,
        field=f"{field}.network",
    )
    return network.to(device)


def of_teacher(bench: Bench, teacher: Teacher) -> tuple[dict[str, Any], int]:
    """A teacher's costs and its metrics on train and validation, and the items it was run on."""
    began = time.perf_counter()
    scores = {name: _score(bench, teacher, bench.parts[name]) for name in ("train", "validation")}
    items = sum(len(bench.parts[name]) for name in scores)
    seconds = (time.perf_counter() - began) / items
    return _costs(teacher) | {"item_seconds": seconds} | scores, items


def of_teacher_speed(bench: Bench, teacher: Teacher) -> tuple[dict[str, Any], int]:
    """A teacher's costs alone, by one batch after one to warm up, and the items of both."""
    part = bench.parts["train"]
    count = min(_TEACHER_BATCH, len(part))
    some = part.head(count)
    seconds = 0.0
    for _ in range(2):
        began = time.perf_counter()
        _score(bench, teacher, some)
        seconds = (time.perf_counter() - began) / count
    none = {"train": None, "validation": None}
    return _costs(teacher) | {"item_seconds": seconds} | none, 2 * count


def of_recorded(bench: Bench, teacher: Recorded) -> dict[str, Any]:
    """The metrics of a teacher that is known by its outputs alone; it costs nothing.

    Rows without outputs are refused as in `Recorded.look_up`.
    """
    scores = {
        name: metrics.score(teacher.look_up(part), torch.from_numpy(np.array(part.labels)))
        for name, part in bench.parts.items()
    }
    return {"parameters": None, "macs": None, "item_seconds": 0.0} | scores


def _costs(teacher: Teacher) -> dict[str, Any]:
    parameters, macs = networks.measure(teacher.network, teacher.input)
    return {"parameters": parameters, "macs": macs}


def _score(bench: Bench, teacher: Teacher, part: Part) -> dict[str, float]:
    logits = predict.logits(
        teacher.network,
        part,
        teacher.feed,
        batch_size=_TEACHER_BATCH,
        device=bench.device,
        each=lambda _: bench.pulse(0),
    )
    return metrics.score(logits, torch.from_numpy(np.array(part.labels)))


def _time_steps(
    bench: Bench, network: nn.Module, student: StudentSpec, *, field: str
) -> float | None:
    course = of_parts(
        bench.parts,
        recipe=bench.recipe,
        fed=feed.make(recipe.fed(student), device=bench.device, files=bench.files),
        device=bench.device,
        classes=bench.classes,
        seed=0,
    )
    try:
        return _take_steps(bench, network, student, course)
    except RunFailed as failed:
        # Whether it diverges at this rate is for its own run to find out and to say.
        if failed.failure != "diverged":
            raise
    except (RuntimeError, ValueError, TypeError) as error:
        if device.is_out_of_memory(error):
            raise
        raise _untrainable(error, field=field) from error
    return None


def _take_steps(
    bench: Bench, network: nn.Module, student: StudentSpec, course: Course
) -> float | None:
    """Median seconds of a step; the first one, which sets things up, counts only if alone."""
    built = course.objective(network, student)
    state = states.begin(network, built, recipe=course.recipe)
    seconds: list[float] = []
    began = last = time.perf_counter()
    for event in train.distill(state, course=course, pulse=lambda: bench.pulse(0)):
        if isinstance(event, Notice):
            continue
        if not isinstance(event, Step):
            break
        device.synchronize(bench.device)
        now = time.perf_counter()
        seconds.append(now - last)
        bench.pulse(0)
        last = time.perf_counter()
        if _is_enough(last - began, steps=len(seconds)):
            break
    return float(np.median(seconds[1:] or seconds)) if seconds else None


def _is_enough(seconds: float, *, steps: int) -> bool:
    """A training run waits for this: two steps do, and a single one if it takes that long."""
    if steps == _MAX_STEPS or seconds > _LONGEST_SECONDS:
        return True
    return steps > 2 and seconds > _SECONDS


def _untrainable(error: Exception, *, field: str) -> InputRejected:
    reason = str(error).partition("\n")[0].rstrip(".")[:300]
    if "deterministic" in reason:
        return InputRejected(
            "not_deterministic",
            f"The network can't be trained with 'deterministic' on this device: {reason}. "
            "Set it to false, or take another network.",
            field="training.deterministic",
        )
    return InputRejected(
        "network_not_trainable",
        f"A training step with this network fails: {reason}. Change its options, its input, "
        "or the batch size.",
        field=f"{field}.network",
    )
