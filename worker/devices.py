"""Which device a worker serves: a GPU that no other worker of its data folder has, or the CPU."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Literal

import pynvml

from stillhouse.errors import Unavailable
from worker import identity

Wanted = Literal["auto", "cpu", "cuda"]

VISIBLE = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True, slots=True)
class Seat:
    """What a worker's trainers may see."""

    visible: str | None
    """Their CUDA_VISIBLE_DEVICES: one GPU, or "" for none; None leaves it as it is."""
    lock: int | None = None
    """An open descriptor that keeps other workers off this GPU."""


def take(wanted: Wanted, gpus: tuple[str, ...], folder: Path) -> Seat:
    """The first GPU that is free, or the CPU.

    Args:
        wanted: what the settings ask for; "auto" is a GPU where there is one.
        gpus: the GPUs of this machine, see `visible`.
        folder: where workers that could take the same GPU keep their locks.

    Returns:
        What to serve.

    Raises:
        Unavailable: if a GPU is wanted and there is none, or none is free.
    """
    if wanted == "cpu":
        return Seat(visible="")
    if not gpus:
        return _no_gpu(wanted)
    for gpu in gpus:
        held = identity.lock(folder / f"gpu-{gpu.replace('/', '-')}.lock")
        if held is not None:
            return Seat(visible=gpu, lock=held)
    count = "The GPU" if len(gpus) == 1 else f"Each of the {len(gpus)} GPUs"
    raise Unavailable(
        f"{count} that this worker can see has a worker already. Start one worker for each GPU; "
        "one that is to use the CPU beside them says so with STILLHOUSE_DEVICE=cpu."
    )


def visible() -> tuple[str, ...]:
    """The GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    listed = os.environ.get(VISIBLE)
    if listed is None:
        return _by_driver()
    names = (item.strip() for item in listed.split(","))
    return tuple(takewhile(lambda name: name and not name.startswith("-"), names))


def _no_gpu(wanted: Wanted) -> Seat:
    if wanted == "cuda":
        raise Unavailable(
            "STILLHOUSE_DEVICE is cuda and no GPU can be seen here: is the driver there, was the "
            "container given a GPU, what does CUDA_VISIBLE_DEVICES say?"
        )
    return Seat(visible=None)


def _by_driver() -> tuple[str, ...]:
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return ()
    try:
        # By their own ids: CUDA may number them in another order than the driver.
        handles = map(pynvml.nvmlDeviceGetHandleByIndex, range(pynvml.nvmlDeviceGetCount()))
        return tuple(str(pynvml.nvmlDeviceGetUUID(handle)) for handle in handles)
    finally:
        pynvml.nvmlShutdown()
