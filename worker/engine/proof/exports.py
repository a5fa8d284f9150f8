"""What an export is worth: the same outputs as the student's, and how long it takes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from stillhouse.spec import AnyInput
from worker.engine import predict
from worker.engine.data.feed import Feed
from worker.engine.data.parts import Part
from worker.engine.proof import evaluation, latency
from worker.engine.serving.onnx_export import FILE, OnnxNetwork

_CPU = torch.device("cpu")


def measure_onnx(
    path: Path,
    *,
    fed: AnyInput,
    feed: Feed,
    part: Part | None,
    logits: Tensor | None,
    timings: list[dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """An ONNX file against the student that it was made of.

    Args:
        path: The file.
        fed: What the student is fed.
        feed: The same on the CPU.
        part: The test part; None without one.
        logits: The student's on it, (rows, classes) float32.
        timings: Those of a network of the same shape, if there are any: weights don't change them.

    Returns:
        kind, precision, file, bytes, latency (as a student's, by onnxruntime on the CPU), and
        parity: {rows, max_difference (of logits), agreement (share of rows with the same class)},
        null without a test part.
    """
    network = OnnxNetwork(path, threads=torch.get_num_threads())
    return {
        "kind": "onnx",
        "precision": "fp32",
        "file": FILE,
        "bytes": path.stat().st_size,
        "parity": None if part is None or logits is None else _parity(network, feed, part, logits),
        "latency": timings or _time(network, fed),
    }


def _time(network: OnnxNetwork, fed: AnyInput) -> list[dict[str, Any]]:
    figures = latency.measure(network, fed=fed, device=_CPU)
    return [figure | {"runtime": "onnxruntime"} for figure in figures]


def _parity(network: OnnxNetwork, feed: Feed, part: Part, logits: Tensor) -> dict[str, Any]:
    theirs = predict.logits(network, part, feed, batch_size=evaluation.BATCH, device=_CPU)
    return {
        "rows": len(part),
        "max_difference": float((theirs - logits).abs().max()),
        "agreement": float((theirs.argmax(dim=1) == logits.argmax(dim=1)).double().mean()),
    }
