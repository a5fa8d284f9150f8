"""How long a pulled student takes on this machine, with what is installed here.

onnxruntime runs `model.onnx`; torch runs the folder through its family's own loader (timm,
transformers). Nothing in a folder is executed: a builtin student's `model.pt2` is left alone, so
such a student is measured by its ONNX export only.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

BATCHES = (1, 64)
_WARM_UP_RUNS = 3
_LEAST_RUNS = 30
_SECONDS = 0.5
_PATIENCE_SECONDS = 10.0

Run = Callable[[], object]


class NotMeasurable(Exception):
    """Why a folder can't be measured here, and what helps."""


@dataclass(frozen=True, slots=True)
class Timing:
    """One runtime with one batch size, the input being in memory already."""

    runtime: str
    hardware: str
    threads: int
    batch: int
    median_ms: float
    p95_ms: float
    runs: int

    def as_dict(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self)


def measure(folder: Path, *, threads: int) -> list[Timing]:
    """Time a student in each runtime that can load it.

    Args:
        folder: As `stillhouse pull` writes it.
        threads: That a runtime may use.

    Returns:
        A timing for each runtime and batch size.

    Raises:
        NotMeasurable: Nothing here can load it.
    """
    config = _config(folder)
    found = [
        _timing(runtime, batch, run, threads=threads)
        for runtime, batch, run in _runs(folder, config, threads=threads)
    ]
    if not found:
        raise NotMeasurable(_advice(folder, config))
    return found


def _config(folder: Path) -> dict[str, Any]:
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise NotMeasurable(
            f"{folder} has no config.json that can be read; pull a student into it."
        ) from error
    if not isinstance(config, dict):
        raise NotMeasurable(f"{folder}/config.json is no student's; pull it again.")
    return config


def _runs(folder: Path, config: dict[str, Any], *, threads: int) -> Iterator[tuple[str, int, Run]]:
    if (folder / "model.onnx").is_file() and find_spec("onnxruntime"):
        yield from _onnx_runs(folder, config, threads=threads)
    if "pretrained_cfg" in config and find_spec("timm"):
        yield from _timm_runs(folder, config, threads=threads)
    if "model_type" in config and find_spec("transformers") and find_spec("torch"):
        yield from _transformers_runs(folder, config, threads=threads)


def _onnx_runs(
    folder: Path, config: dict[str, Any], *, threads: int
) -> Iterator[tuple[str, int, Run]]:
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        str(folder / "model.onnx"), sess_options=options, providers=["CPUExecutionProvider"]
    )
    taken = session.get_inputs()[0]
    kind = np.int64 if taken.type == "tensor(int64)" else np.float32
    for batch in BATCHES:
        given = {taken.name: np.zeros((batch, *_shape(config)), kind)}
        name = f"onnxruntime {onnxruntime.__version__}"
        yield name, batch, lambda given=given: session.run(None, given)  # type: ignore[misc]  # a default binds this batch's input


def _timm_runs(
    folder: Path, config: dict[str, Any], *, threads: int
) -> Iterator[tuple[str, int, Run]]:
    import timm
    import torch

    torch.set_num_threads(threads)
    network = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    yield from _torch_runs(network, "timm", torch.zeros, _shape(config))


def _transformers_runs(
    folder: Path, config: dict[str, Any], *, threads: int
) -> Iterator[tuple[str, int, Run]]:
    import torch
    import transformers

    torch.set_num_threads(threads)
    load = transformers.AutoModelForSequenceClassification.from_pretrained
    network = load(folder, local_files_only=True, use_safetensors=True).eval()

    def tokens(*shape: int) -> Any:
        return torch.ones(*shape, dtype=torch.int64)

    yield from _torch_runs(network, "transformers", tokens, _shape(config))


def _torch_runs(
    network: Any, loader: str, make: Callable[..., Any], shape: tuple[int, ...]
) -> Iterator[tuple[str, int, Run]]:
    import torch

    def run(given: Any) -> object:
        with torch.inference_mode():
            return network(given)

    for batch in BATCHES:
        given = make(batch, *shape)
        yield f"torch {torch.__version__}, {loader}", batch, lambda given=given: run(given)  # type: ignore[misc]  # as above


def _shape(config: dict[str, Any]) -> tuple[int, ...]:
    """What one item is when it reaches the network."""
    if "pretrained_cfg" in config:
        return tuple(config["pretrained_cfg"]["input_size"])
    fed = (config.get("stillhouse") or {}).get("input") or {}
    match fed.get("modality", "image" if "size" in fed else "text"):
        case "image":
            return (1 if fed["channels"] == "gray" else 3, *fed["size"])
        case "sequence":
            return fed["channels"], fed["length"]
        case "tabular":
            return (len(fed["columns"]),)
        case _:
            longest = int(fed.get("max_length") or config.get("max_position_embeddings") or 128)
            return (min(longest, 128),)


def _timing(runtime: str, batch: int, run: Run, *, threads: int) -> Timing:
    for _ in range(_WARM_UP_RUNS):
        run()
    seconds: list[float] = []
    began = time.perf_counter()
    while not _is_enough(time.perf_counter() - began, len(seconds)):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    slow = statistics.quantiles(seconds, n=20)[-1] if len(seconds) > 1 else seconds[0]
    return Timing(
        runtime=runtime,
        hardware=_hardware(),
        threads=threads,
        batch=batch,
        median_ms=statistics.median(seconds) * 1000,
        p95_ms=slow * 1000,
        runs=len(seconds),
    )


def _is_enough(seconds: float, runs: int) -> bool:
    if seconds > _PATIENCE_SECONDS and runs:
        return True
    return runs >= _LEAST_RUNS and seconds >= _SECONDS


def _hardware() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _advice(folder: Path, config: dict[str, Any]) -> str:
    if (folder / "model.onnx").is_file():
        return "Nothing here can load it; pip install onnxruntime."
    if "pretrained_cfg" in config:
        return "Nothing here can load it; pip install timm."
    if "model_type" in config:
        return "Nothing here can load it; pip install transformers torch."
    return (
        "A builtin student is measured by its ONNX export; submit the job with "
        '"exports": ["onnx"], and pip install onnxruntime.'
    )


def cores() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
