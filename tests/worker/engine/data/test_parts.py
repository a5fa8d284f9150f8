from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from worker.engine.data import parts


def _write(path: Path, **changes: Any) -> Path:
    arrays = {
        "x": np.arange(3 * 4 * 5, dtype=np.uint8).reshape(3, 4, 5, 1),
        "y": np.array([2, 0, 1]),
        "rows": np.array([7, 8, 9]),
    }
    np.savez(path, **(arrays | changes))
    return path


def test_a_part_is_mapped_with_the_values_that_were_saved(tmp_path: Path) -> None:
    path = _write(tmp_path / "part.npz")
    part = parts.open_part(path)
    with np.load(path) as saved:
        assert np.array_equal(part.x, saved["x"])
        assert np.array_equal(part.labels, saved["y"])
        assert np.array_equal(part.rows, saved["rows"])
    assert isinstance(part.x, np.memmap)
    assert (len(part), part.modality, part.x.shape) == (3, "image", (3, 4, 5, 1))


def test_an_empty_part_opens(tmp_path: Path) -> None:
    path = tmp_path / "part.npz"
    none = np.empty(0, dtype=np.int64)
    _write(path, x=np.empty((0, 4, 5, 3), dtype=np.uint8), y=none, rows=none)
    assert len(parts.open_part(path)) == 0


def test_a_mapped_part_can_not_be_written(tmp_path: Path) -> None:
    part = parts.open_part(_write(tmp_path / "part.npz"))
    with pytest.raises(ValueError, match="read-only"):
        part.x[0] = 0


def test_a_compressed_part_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "part.npz"
    np.savez_compressed(path, x=np.zeros((1, 2, 2, 1)), y=np.zeros(1), rows=np.zeros(1))
    with pytest.raises(ValueError, match="compressed"):
        parts.open_part(path)


def test_an_array_of_objects_is_refused_unread(tmp_path: Path) -> None:
    path = _write(tmp_path / "part.npz", y=np.array([{}, {}, {}], dtype=object))
    with pytest.raises(ValueError, match="plain"):
        parts.open_part(path)


@pytest.mark.parametrize(
    "changes",
    [
        {"x": np.zeros((3, 4, 5), dtype=np.uint8)},
        {"x": np.zeros((3, 4, 5, 2), dtype=np.uint8)},
        {"x": np.zeros((3, 4, 5, 1))},
        {"y": np.zeros(2, dtype=np.int64)},
        {"rows": np.zeros(3, dtype=np.int32)},
    ],
)
def test_arrays_of_other_shapes_or_types_are_refused(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    with pytest.raises(ValueError, match=r"part\.npz"):
        parts.open_part(_write(tmp_path / "part.npz", **changes))
