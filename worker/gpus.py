"""The devices that NVIDIA's driver shows this process, for the metrics. Without one: nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import pynvml
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector


class Gpus(Collector):
    """Memory and utilisation, asked for when Prometheus asks."""

    def collect(self) -> Iterator[Metric]:
        """Three gauges, with a sample for each device."""
        used, size, busy = (
            GaugeMetricFamily(f"stillhouse_gpu_{name}", meaning, labels=["gpu"])
            for name, meaning in (
                ("memory_used_bytes", "Memory in use, by whomever."),
                ("memory_size_bytes", "Memory of the device."),
                ("utilization_ratio", "Share of the last moment in which a kernel ran."),
            )
        )
        for name, handle in self._handles.items():
            try:
                memory = pynvml.nvmlDeviceGetMemoryInfo(handle)
                utilization = pynvml.nvmlDeviceGetUtilizationRates(handle)
            except pynvml.NVMLError:
                continue  # it fell off the bus, or doesn't tell
            used.add_metric([name], memory.used)
            size.add_metric([name], memory.total)
            busy.add_metric([name], utilization.gpu / 100)
        yield from (used, size, busy)

    @cached_property
    def _handles(self) -> dict[str, Any]:
        """The devices that CUDA shows, too, by their index here."""
        try:
            pynvml.nvmlInit()
            found = {
                str(index): pynvml.nvmlDeviceGetHandleByIndex(index)
                for index in range(pynvml.nvmlDeviceGetCount())
            }
            return {name: each for name, each in found.items() if _is_visible(name, each)}
        except pynvml.NVMLError:
            return {}


def _is_visible(index: str, handle: Any) -> bool:
    wanted = os.environ.get("CUDA_VISIBLE_DEVICES")
    if wanted is None:
        return True
    uuid = pynvml.nvmlDeviceGetUUID(handle)
    return any(each == index or (each and uuid.startswith(each)) for each in wanted.split(","))
