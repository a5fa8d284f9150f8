"""A student's outputs on the test part, so that anyone can recompute its figures."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from worker.engine.data.parts import Part

_DATE = (1980, 1, 1, 0, 0, 0)  # the first that a zip can hold: equal arrays give equal bytes
_PERMISSIONS = 0o644 << 16


def write(path: Path, *, part: Part, logits: Tensor) -> None:
    """Write predictions.npz.

    Args:
        path: The file.
        part: The test part.
        logits: (rows, classes), float32, in the part's order.
    """
    arrays = {
        "rows": np.asarray(part.rows),
        "labels": np.asarray(part.labels),
        "logits": logits.numpy(),
    }
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as archive:
        for name, array in arrays.items():
            _write_member(archive, f"{name}.npy", array)


def _write_member(archive: zipfile.ZipFile, name: str, array: npt.NDArray[Any]) -> None:
    member = zipfile.ZipInfo(name, date_time=_DATE)
    member.external_attr = _PERMISSIONS
    with archive.open(member, "w", force_zip64=True) as stream:
        np.lib.format.write_array(stream, np.ascontiguousarray(array), allow_pickle=False)
