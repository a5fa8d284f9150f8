"""A student as ONNX, for every runtime that is not torch."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from stillhouse.spec import AnyInput, TextInput
from worker.engine.data import feed

if TYPE_CHECKING:
    import onnxruntime

FILE = "model.onnx"
INPUT, OUTPUT = "input", "logits"


def write(folder: Path, network: nn.Module, *, fed: AnyInput) -> Path:
    """Export a network in eval mode and float32, on the CPU, for any batch size.

    The graph takes `input`, which is what the network is fed (a text's length is free, too), and
    gives `logits` (batch, classes). Equal networks give equal bytes.

    Args:
        folder: Where model.onnx goes.
        network: On any device; it is left as it is.
        fed: What the network is fed.

    Returns:
        The file.
    """
    import onnx  # noqa: PLC0415 - seconds to import, and few jobs ask for it

    alone = copy.deepcopy(network).cpu().float().to(memory_format=torch.contiguous_format).eval()
    free = {0: torch.export.Dim("batch", min=1)}
    if isinstance(fed, TextInput):
        free[1] = torch.export.Dim("length", min=1, max=fed.max_length)
    with torch.no_grad():
        program: Any = torch.onnx.export(
            alone,
            (feed.example(fed, 2),),
            dynamo=True,
            dynamic_shapes=(free,),
            input_names=[INPUT],
            output_names=[OUTPUT],
            verbose=False,
        )
    model = program.model_proto
    _strip(model)
    onnx.checker.check_model(model)
    path = folder / FILE
    path.write_bytes(model.SerializeToString(deterministic=True))
    return path


def _strip(model: Any) -> None:
    """Drop the notes on where each operation comes from: they name paths of this machine."""
    graphs = [model.graph, *model.functions]
    for holder in (model, *graphs, *(node for graph in graphs for node in graph.node)):
        del holder.metadata_props[:]
        holder.doc_string = ""
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output):
        del value.metadata_props[:]
    for tensor in model.graph.initializer:
        del tensor.metadata_props[:]


class OnnxNetwork(nn.Module):
    """An exported network in onnxruntime, to be measured like any other; on the CPU."""

    def __init__(self, path: Path, *, threads: int) -> None:
        super().__init__()
        self._session = _open(path, threads=threads)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch, classes) from a network's input."""
        logits = self._session.run([OUTPUT], {INPUT: x.numpy()})[0]
        return torch.from_numpy(logits)


def _open(path: Path, *, threads: int) -> onnxruntime.InferenceSession:
    import onnxruntime  # noqa: PLC0415 - as above

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(
        str(path), sess_options=options, providers=["CPUExecutionProvider"]
    )
