"""A ready teacher: its network, in the dataset's class order, and what it is fed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from stillhouse.errors import InputRejected
from stillhouse.spec import AnyInput, NetworkSpec
from worker.engine import networks
from worker.engine.data import feed
from worker.engine.data.feed import Feed
from worker.protocol import TeacherFiles

_INPUT: TypeAdapter[AnyInput] = TypeAdapter(AnyInput)
_MAX_NAMED = 20
_COUNTER = ".num_batches_tracked"
"""Batch normalisation's count of steps; old checkpoints lack it, and eval mode doesn't read it."""


class InClassOrder(nn.Module):
    """A network whose outputs stand in the dataset's class order."""

    order: Tensor

    def __init__(self, network: nn.Module, order: list[int]) -> None:
        super().__init__()
        self.network = network
        self.register_buffer("order", torch.tensor(order), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch, classes of the dataset)."""
        return self.network(x)[:, self.order]  # type: ignore[no-any-return]  # nn.Module.__call__ is untyped


@dataclass(frozen=True, slots=True)
class Teacher:
    """A teacher that is ready to be asked."""

    id: str
    network: nn.Module
    """In eval mode, without gradients; outputs (batch, classes) in the dataset's order."""
    feed: Feed
    input: AnyInput


def load(
    files: TeacherFiles,
    *,
    classes: int,
    device: torch.device,
    inputs: Mapping[str, str] | None = None,
    field: str = "teachers.0",
) -> Teacher:
    """Build a teacher's network and fill it from its own weights.

    A network that can't be built is refused as in `networks.build`.

    Args:
        files: What a run is told of the teacher.
        classes: The dataset's number of classes.
        device: Where it is to compute.
        inputs: Where tokenizers' files lie, by SHA-256.
        field: Where the teacher stands in the job's specification.

    Returns:
        The teacher.

    Raises:
        InputRejected: `class_count_differs`: it has other outputs than the dataset has classes.
    """
    spec = NetworkSpec.model_validate(files["network"])
    fed = _INPUT.validate_python(files["input"])
    outputs = _count_outputs(files, spec, otherwise=classes)
    order = files["class_order"]
    if order is None and outputs != classes:
        raise InputRejected(
            "class_count_differs",
            f"The teacher has {outputs} outputs, the dataset {classes} classes; "
            "name the classes on both sides, or take another teacher.",
            field=field,
        )
    network = networks.build(spec, classes=outputs, fed=fed, field=f"{field}.network")
    _fill(network, Path(str(files["weights"])), field=field)
    if order is not None and order != list(range(outputs)):
        network = InClassOrder(network, order)
    network.requires_grad_(requires_grad=False)
    return Teacher(
        id=files["id"],
        network=network.eval().to(device),
        feed=feed.make(fed, device=device, files=inputs),
        input=fed,
    )


def _count_outputs(files: TeacherFiles, spec: NetworkSpec, *, otherwise: int) -> int:
    if files["classes"] is not None:
        return len(files["classes"])
    given = spec.options.get("num_classes")
    return given if isinstance(given, int) else otherwise


def _fill(network: nn.Module, weights: Path, *, field: str) -> None:
    given = safetensors.torch.load_file(weights)
    expected = network.state_dict()
    found = {name: tuple(tensor.shape) for name, tensor in given.items()}
    wanted = {name: tuple(tensor.shape) for name, tensor in expected.items()}
    missing = [n for n in wanted if n not in found and not n.endswith(_COUNTER)]
    extra = [n for n in found if n not in wanted]
    shape = [n for n in wanted if n in found and found[n] != wanted[n]]
    if missing or extra or shape:
        raise _mismatch(missing, extra, shape, field=field)
    network.load_state_dict(expected | given)


def _mismatch(
    missing: list[str], extra: list[str], shape: list[str], *, field: str
) -> InputRejected:
    total = len(missing) + len(extra) + len(shape)
    named = _MAX_NAMED
    tensors: dict[str, object] = {}
    for kind, names in (("missing", missing), ("extra", extra), ("shape", shape)):
        tensors[kind] = names[:named]
        named -= len(names[:named])
    return InputRejected(
        "teacher_mismatch",
        f"The weights don't fit the network: {len(missing)} tensors are missing, {len(extra)} "
        f"are not in it, {len(shape)} have another shape. Name the network they were saved from.",
        field=field,
        tensors=tensors | {"total": total},
    )
