"""A teacher that is known by its outputs alone: looked up by row, never run."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from stillhouse.errors import InputRejected
from worker.engine.data.parts import Part
from worker.engine.teacher import check_order
from worker.protocol import TeacherFiles


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a teacher once said of a dataset's rows."""

    id: str
    outputs: NDArray[np.float32]
    """(n, classes) in log space, in the dataset's order of classes."""
    rows: NDArray[np.int64]
    """(n,), ascending: the row's number in the source."""
    names_only: bool
    """Whether it names a class and says no more (labels)."""
    field: str
    """Where the teacher stands in the job's specification."""

    def look_up(self, part: Part) -> Tensor:
        """The teacher's outputs for a part of the same dataset.

        Args:
            part: The part.

        Returns:
            (rows of the part, classes) float32 on the CPU.

        Raises:
            InputRejected: `outputs_rows_differ`: a row has none.
        """
        numbers = np.asarray(part.rows)
        places = np.searchsorted(self.rows, numbers).clip(max=max(len(self.rows) - 1, 0))
        found = self.rows[places] == numbers if len(self.rows) else np.zeros(len(numbers), bool)
        if not found.all():
            missing = numbers[~found]
            raise InputRejected(
                "outputs_rows_differ",
                f"The teacher's outputs lack {len(missing)} of {len(numbers)} rows, the first of "
                f"them row {int(missing[0])}; send outputs for every row of the dataset.",
                field=self.field,
            )
        return torch.from_numpy(self.outputs[places])


def load(files: TeacherFiles, *, classes: int, field: str = "teachers.0") -> Recorded:
    """Read a teacher's outputs.

    Args:
        files: What a run is told of the teacher; `outputs` names the npz.
        classes: The dataset's number of classes.
        field: Where the teacher stands in the job's specification.

    Returns:
        The teacher.

    Raises:
        InputRejected: `class_count_differs` or `class_map_invalid`.
    """
    outputs, rows = _read(str(files["outputs"]))
    order = files["class_order"]
    if order is not None:
        check_order(order, outputs=outputs.shape[1], classes=classes, field=field)
        outputs = outputs[:, order]
    if outputs.shape[1] != classes:
        raise InputRejected(
            "class_count_differs",
            f"The teacher has {outputs.shape[1]} outputs, the dataset {classes} classes; "
            "name the classes on both sides, or take another teacher.",
            field=field,
        )
    ascending = np.argsort(rows, kind="stable")
    return Recorded(
        id=files["id"],
        outputs=outputs[ascending],
        rows=rows[ascending],
        names_only=files["outputs_kind"] == "labels",
        field=field,
    )


def _read(path: str) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    with np.load(path, allow_pickle=False) as arrays:
        return arrays["outputs"], arrays["rows"]
