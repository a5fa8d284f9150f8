"""The weights that a student begins with, beyond those that its constructor drew."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import safetensors
import torch
from torch import Tensor, nn

from stillhouse.errors import InputRejected
from stillhouse.spec import BlobRef, GivenInit, StudentSpec, TeacherInit
from worker.engine import recipe, teacher, tie
from worker.engine.course import Course
from worker.engine.teacher import Teacher

_BATCHES = 100
"""At most, for the statistics of batch normalisation."""
_BATCH = 128


def fill(
    network: nn.Module,
    student: StudentSpec,
    *,
    first: Teacher | None,
    course: Course,
    files: Mapping[str, str],
    field: str,
) -> tie.Held:
    """Give a network the weights that its specification names, in place.

    What can't be tied is refused as by `tie.initialise` and `tie.hold`.

    Args:
        network: With its random weights, on its device.
        student: Its specification.
        first: The first teacher. None in an arm that does without: it begins at random there,
            since a student that starts from the teacher isn't "without the teacher".
        course: Whose train part normalisation's statistics are estimated on.
        files: Where given weights lie, by SHA-256.
        field: Where the student stands in the job's specification.

    Returns:
        The tensors that training must leave alone, perhaps none.
    """
    init, place = student.init, f"{field}.init"
    match init:
        case GivenInit():
            _read(network, init, files=files, field=place)
        case TeacherInit() if first is not None:
            tie.initialise(
                network,
                first,
                init,
                fed=recipe.fed(student),
                batches=_batches(course),
                field=place,
            )
            return tie.hold(init, network, field=place)
    return tie.Held({})


def _read(network: nn.Module, init: GivenInit, *, files: Mapping[str, str], field: str) -> None:
    if not isinstance(init.weights, BlobRef) or init.weights.blob not in files:
        raise InputRejected(
            "init_weights_missing",
            "A student's weights are uploaded: give them as {'blob': SHA-256}.",
            field=f"{field}.weights",
        )
    try:
        teacher.fill(
            network,
            Path(files[init.weights.blob]),
            field=f"{field}.weights",
            code="init_mismatch",
        )
    except safetensors.SafetensorError as error:
        raise InputRejected(
            "init_unreadable",
            f"The weights are no safetensors file: {error}. Save them as one.",
            field=f"{field}.weights",
        ) from error


def _batches(course: Course) -> Iterator[Tensor]:
    """The train part as it lies there, without augmentation, as the network is fed it."""
    rows = min(len(course.source), _BATCHES * _BATCH)
    for start in range(0, rows, _BATCH):
        index = torch.arange(start, min(start + _BATCH, rows))
        yield course.feed(course.source.take(index))
