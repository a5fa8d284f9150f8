from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from stillhouse.errors import Unavailable
from worker import devices, trainer_process
from worker.devices import Seat

GPUS = ("GPU-1111", "GPU-2222")


@pytest.fixture
def seats() -> Iterator[list[Seat]]:
    taken: list[Seat] = []
    yield taken
    for seat in taken:
        if seat.lock is not None:
            with contextlib.suppress(OSError):
                os.close(seat.lock)


def test_each_worker_of_a_machine_gets_a_gpu_of_its_own(tmp_path: Path, seats: list[Seat]) -> None:
    seats += [devices.take(wanted, GPUS, tmp_path) for wanted in ("auto", "cuda")]
    assert [seat.visible for seat in seats] == ["GPU-1111", "GPU-2222"]


@pytest.mark.parametrize("wanted", ["auto", "cuda"])
def test_a_worker_too_many_is_told_what_to_do(
    tmp_path: Path, seats: list[Seat], wanted: devices.Wanted
) -> None:
    seats += [devices.take("auto", GPUS, tmp_path) for _ in GPUS]
    with pytest.raises(Unavailable, match=r"Each of the 2 GPUs .* STILLHOUSE_DEVICE=cpu"):
        devices.take(wanted, GPUS, tmp_path)
    seats.append(devices.take("cpu", GPUS, tmp_path))
    assert seats[-1].visible == ""


def test_a_gpu_is_free_again_when_its_worker_has_ended(tmp_path: Path, seats: list[Seat]) -> None:
    seats += [devices.take("auto", GPUS, tmp_path) for _ in GPUS]
    assert seats[0].lock is not None
    os.close(seats[0].lock)
    seats.append(devices.take("auto", GPUS, tmp_path))
    assert seats[-1].visible == "GPU-1111"


def test_workers_on_the_cpu_take_no_gpu_from_the_others(tmp_path: Path, seats: list[Seat]) -> None:
    seats += [devices.take("cpu", GPUS, tmp_path) for _ in range(3)]
    seats.append(devices.take("cuda", GPUS, tmp_path))
    assert seats[-1].visible == "GPU-1111"


def test_without_a_gpu_auto_is_the_cpu_and_cuda_is_an_error(tmp_path: Path) -> None:
    assert devices.take("auto", (), tmp_path) == Seat(visible=None)
    with pytest.raises(Unavailable, match="no GPU can be seen"):
        devices.take("cuda", (), tmp_path)


@pytest.mark.parametrize(
    ("listed", "names"),
    [
        ("", ()), ("2", ("2",)), ("GPU-aa, GPU-bb", ("GPU-aa", "GPU-bb")), ("3,1", ("3", "1")),
        ("0,-1,1", ("0",)), ("MIG-4", ("MIG-4",)),
    ],
)  # fmt: skip
def test_a_list_of_visible_gpus_is_respected(
    listed: str, names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", listed)
    assert devices.visible() == names


@pytest.mark.parametrize(("given", "seen"), [("GPU-aa", "GPU-aa"), ("", ""), (None, "7")])
def test_a_trainer_sees_its_own_gpu_only(
    given: str | None, seen: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    made = trainer_process.environment(threads=1, writing=3, visible=given)
    assert made["CUDA_VISIBLE_DEVICES"] == seen
