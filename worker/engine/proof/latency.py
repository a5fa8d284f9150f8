"""How long a network takes for a batch, on this device."""

from __future__ import annotations

import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from stillhouse.spec import AnyInput
from worker.engine.data import feed

BATCHES = (1, 64)
_SECONDS = 0.5
_RUNS = 30
_TURN_RUNS = 10
_PATIENCE_SECONDS = 10.0
_WARM_UP_RUNS = 3


def measure(network: nn.Module, *, fed: AnyInput, device: torch.device) -> list[dict[str, Any]]:
    """Median and 95th percentile in float32 and eval mode, the input already on the device.

    The batch sizes take turns, so that what else the machine does meanwhile disturbs all of
    them. It takes half a second, and at least 30 timed runs of each; a network so slow that
    these take more than 10 seconds is timed less often, as `runs` tells.

    Args:
        network: On `device`; left in eval mode.
        fed: The input; images and series are noise, the others blank.
        device: Where it runs.

    Returns:
        An object for each batch size, as in `result.arms[].latency`.
    """
    network.eval()
    place = {
        "device": device.type,
        "hardware": hardware(device),
        "threads": torch.get_num_threads(),
    }
    generator = torch.Generator().manual_seed(0)
    blank = [feed.example(fed, batch) for batch in BATCHES]
    inputs = [
        (torch.randn(one.shape, generator=generator) if one.ndim > 2 else one).to(device)
        for one in blank
    ]
    timed = _time(network, inputs, device=device)
    return [
        {**place, "batch": batch, **_summarise(seconds)}
        for batch, seconds in zip(BATCHES, timed, strict=True)
    ]


def hardware(device: torch.device) -> str:
    """The name of the processor that `device` stands for."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _summarise(seconds: list[float]) -> dict[str, float]:
    median, slow = (float(np.percentile(seconds, share)) * 1000 for share in (50, 95))
    return {"median_ms": median, "p95_ms": slow, "runs": len(seconds)}


def _time(network: nn.Module, inputs: list[Tensor], *, device: torch.device) -> list[list[float]]:
    """Seconds of each timed run, for each input."""
    timed: list[list[float]] = [[] for _ in inputs]
    with torch.inference_mode():
        for images in inputs:
            for _ in range(_WARM_UP_RUNS):
                _run(network, images, device=device)
        started = time.perf_counter()
        while not _is_enough(runs=len(timed[-1]), spent=time.perf_counter() - started):
            for images, seconds in zip(inputs, timed, strict=True):
                deadline = started + _PATIENCE_SECONDS
                seconds.extend(_time_turn(network, images, device=device, deadline=deadline))
    return timed


def _time_turn(
    network: nn.Module, images: Tensor, *, device: torch.device, deadline: float
) -> list[float]:
    """Seconds of a few runs in a row, of one at least."""
    # The caches still hold what the other batch size needed, so the first run isn't timed.
    _run(network, images, device=device)
    seconds = [_run(network, images, device=device)]
    while len(seconds) < _TURN_RUNS and time.perf_counter() < deadline:
        seconds.append(_run(network, images, device=device))
    return seconds


def _run(network: nn.Module, images: Tensor, *, device: torch.device) -> float:
    started = time.perf_counter()
    network(images)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def _is_enough(*, runs: int, spent: float) -> bool:
    return (spent >= _SECONDS and runs >= _RUNS) or spent >= _PATIENCE_SECONDS
