"""How long a network takes for a batch, on this device."""

from __future__ import annotations

import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

BATCHES = (1, 64)
_SECONDS = 0.5
_RUNS = 30
_PATIENCE_SECONDS = 5.0
_WARM_UP_RUNS = 3


def measure(
    network: nn.Module, *, channels: int, size: tuple[int, int], device: torch.device
) -> list[dict[str, Any]]:
    """Median and 95th percentile in float32 and eval mode, the input already on the device.

    Half a second and at least 30 runs are timed for each batch size; a network so slow
    that 30 runs take more than 5 seconds is timed less often.

    Args:
        network: On `device`; left in eval mode.
        channels: Of the input.
        size: Height, width.
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
    figures: list[dict[str, Any]] = []
    for batch in BATCHES:
        images = torch.randn(batch, channels, *size, generator=generator).to(device)
        seconds = _time(network, images, device=device)
        median, slow = (float(np.percentile(seconds, share)) * 1000 for share in (50, 95))
        figures.append({**place, "batch": batch, "median_ms": median, "p95_ms": slow})
    return figures


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


def _time(network: nn.Module, images: Tensor, *, device: torch.device) -> list[float]:
    """Seconds of each timed run."""
    with torch.inference_mode():
        for _ in range(_WARM_UP_RUNS):
            _run(network, images, device=device)
        seconds: list[float] = []
        spent = 0.0
        while not _enough(runs=len(seconds), spent=spent):
            seconds.append(_run(network, images, device=device))
            spent += seconds[-1]
    return seconds


def _run(network: nn.Module, images: Tensor, *, device: torch.device) -> float:
    started = time.perf_counter()
    network(images)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - started


def _enough(*, runs: int, spent: float) -> bool:
    return (spent >= _SECONDS and runs >= _RUNS) or spent >= _PATIENCE_SECONDS
