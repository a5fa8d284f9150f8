"""A ready teacher with weights: its network, in the dataset's class order, and what it is fed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import safetensors.torch
import torch
from pydantic import TypeAdapter
from torch import Tensor, nn

from stillhouse.errors import InputRejected
from stillhouse.spec import AnyInput, NetworkSpec
from worker.engine import networks
from worker.engine.data.feed import Feed
from worker.engine.data.feed import make as make_feed
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
    spec: NetworkSpec

    @property
    def body(self) -> nn.Module:
        """The network without a re-ordering of its classes, under its own names of layers."""
        return self.network.network if isinstance(self.network, InClassOrder) else self.network


def of_network(
    network: nn.Module,
    *,
    spec: NetworkSpec,
    fed: AnyInput,
    feed: Feed,
    id: str,  # noqa: A002 - the field's name
) -> Teacher:
    """Make a teacher of a network in memory, whose outputs are the dataset's classes in order.

    Args:
        network: On its device. It is the teacher's from now on: in eval mode, without gradients.
        spec: Its architecture.
        fed: What it is fed.
        feed: The same, ready to be called.
        id: What it is called.

    Returns:
        The teacher.
    """
    network.requires_grad_(requires_grad=False)
    return Teacher(id=id, network=network.eval(), feed=feed, input=fed, spec=spec)


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
        InputRejected: `class_count_differs`: it has other outputs than the dataset has classes;
            `class_map_invalid`: the order of classes names an output that it hasn't.
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
    if order is not None:
        check_order(order, outputs=outputs, classes=classes, field=field)
    network = networks.build(spec, classes=outputs, fed=fed, field=f"{field}.network")
    fill(network, Path(str(files["weights"])), field=field)
    if order is not None and order != list(range(outputs)):
        network = InClassOrder(network, order)
    return of_network(
        network.to(device),
        spec=spec,
        fed=fed,
        feed=make_feed(fed, device=device, files=inputs),
        id=files["id"],
    )


def check_order(order: Sequence[int], *, outputs: int, classes: int, field: str) -> None:
    """Refuse an order of classes that a teacher's outputs can't be put into.

    Args:
        order: For each class of the dataset, the teacher's output.
        outputs: How many the teacher has.
        classes: The dataset's number of classes.
        field: Where the teacher stands in the job's specification.

    Raises:
        InputRejected: `class_map_invalid`.
    """
    if len(order) != classes or not all(0 <= place < outputs for place in order):
        raise InputRejected(
            "class_map_invalid",
            f"The map of classes must name one of the teacher's {outputs} outputs for each of "
            f"the dataset's {classes} classes.",
            field=f"{field}.class_map",
        )


def _count_outputs(files: TeacherFiles, spec: NetworkSpec, *, otherwise: int) -> int:
    if files["classes"] is not None:
        return len(files["classes"])
    given = spec.options.get("num_classes")
    return given if isinstance(given, int) else otherwise


def fill(network: nn.Module, weights: Path, *, field: str, code: str = "teacher_mismatch") -> None:
    """Load a network's weights, strictly.

    Tensors that are missing, not in the network, or of another shape are refused as
    `InputRejected`, by their names.

    Args:
        network: The network.
        weights: A safetensors file.
        field: Where it stands in the job's specification.
        code: Of the refusal.
    """
    given = safetensors.torch.load_file(weights)
    expected = network.state_dict()
    found = {name: tuple(tensor.shape) for name, tensor in given.items()}
    wanted = {name: tuple(tensor.shape) for name, tensor in expected.items()}
    missing = [n for n in wanted if n not in found and not n.endswith(_COUNTER)]
    extra = [n for n in found if n not in wanted]
    shape = [n for n in wanted if n in found and found[n] != wanted[n]]
    if missing or extra or shape:
        _mismatch(missing, extra, shape, field=field, code=code)
    network.load_state_dict(expected | given)


def _mismatch(
    missing: list[str], extra: list[str], shape: list[str], *, field: str, code: str
) -> NoReturn:
    total = len(missing) + len(extra) + len(shape)
    named = _MAX_NAMED
    tensors: dict[str, object] = {}
    for kind, names in (("missing", missing), ("extra", extra), ("shape", shape)):
        tensors[kind] = names[:named]
        named -= len(names[:named])
    raise InputRejected(
        code,
        f"The weights don't fit the network: {len(missing)} tensors are missing, {len(extra)} "
        f"are not in it, {len(shape)} have another shape. Name the network they were saved from.",
        field=field,
        tensors=tensors | {"total": total},
    )
