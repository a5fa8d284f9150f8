"""Does a checkpoint fit its network? By names and shapes first, then by a forward."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from stillhouse.errors import InputRejected
from stillhouse.spec import AnyInput, NetworkSpec
from worker.engine import networks
from worker.engine.data import feed

MAX_NAMED = 20
# BatchNorm's, which inference never reads, and what transformers kept beside weights until 4.31.
_COUNTER = "num_batches_tracked"
_SUPERFLUOUS = (_COUNTER, ".position_ids", ".token_type_ids")

Tensors = dict[str, torch.Tensor]


def count_classes(tensors: Tensors, network: NetworkSpec, fed: AnyInput) -> int:
    """How many classes the head of a checkpoint has.

    The head is where two networks that differ in their class count only have other shapes.

    Args:
        tensors: the checkpoint.
        network: its architecture, which names no class count.
        fed: what the network is fed.

    Returns:
        The count.

    Raises:
        InputRejected: `classes_unknown`, if the checkpoint has no such head.
    """
    two, three = (_expected(network, fed, classes=count) for count in (2, 3))
    for name, shape in two.items():
        differing = [axis for axis, length in enumerate(shape) if length != three[name][axis]]
        if differing and name in tensors and tensors[name].ndim == len(shape):
            return int(tensors[name].shape[differing[0]])
    raise InputRejected(
        "classes_unknown",
        "The checkpoint doesn't show how many classes it has; give 'classes', or "
        "'num_classes' in the network's options.",
        field="classes",
    )


def load(
    tensors: Tensors, network: NetworkSpec, fed: AnyInput, *, classes: int
) -> tuple[nn.Module, Tensors]:
    """A network with a checkpoint's weights, in eval mode, seen to work once.

    Refused as `InputRejected`: `teacher_mismatch` with the tensors' names, `non_finite_output`.

    Args:
        tensors: the checkpoint; counters of batches may be missing or superfluous, and
            transformers' old buffers of positions superfluous.
        network: its architecture.
        fed: what it is fed.
        classes: how many outputs it has.

    Returns:
        The network, and the tensors that it took: exactly those of its state dict.
    """
    module = networks.build(network, classes=classes, fed=fed)
    expected = {name: tensor.shape for name, tensor in module.state_dict().items()}
    fitting = _with_counters(tensors, expected)
    _check_shapes(fitting, expected)
    module.load_state_dict(fitting)
    module.eval()
    _check_forward(module, fed, classes=classes)
    return module, fitting


def check_vocabulary(module: nn.Module, *, highest: int) -> None:
    """Look the last word of a tokenizer up in a text network.

    Args:
        module: the network, in eval mode; it maps ids (batch, tokens) to outputs.
        highest: the largest id that the tokenizer may give.

    Raises:
        InputRejected: `tokenizer_mismatch`, if the network has no such word.
    """
    try:
        with torch.inference_mode():
            module(torch.full((1, 1), highest))
    except (IndexError, RuntimeError) as error:
        raise InputRejected(
            "tokenizer_mismatch",
            f"The tokenizer gives ids up to {highest}, for which the network has no embedding; "
            "send the tokenizer that it was trained with.",
            field="weights",
        ) from error


def _expected(network: NetworkSpec, fed: AnyInput, *, classes: int) -> dict[str, torch.Size]:
    def build() -> nn.Module:
        return networks.build(network, classes=classes, fed=fed)

    try:
        with torch.device("meta"):  # Shapes alone cost neither memory nor time.
            module = build()
    except InputRejected:
        module = build()  # A few networks compute with values while they are built.
    return {name: tensor.shape for name, tensor in module.state_dict().items()}


def _with_counters(tensors: Tensors, expected: dict[str, torch.Size]) -> Tensors:
    kept = {
        name: tensor
        for name, tensor in tensors.items()
        if name in expected or not name.endswith(_SUPERFLUOUS)
    }
    missing = (name for name in expected if name.endswith(_COUNTER) and name not in kept)
    return kept | {name: torch.zeros((), dtype=torch.int64) for name in missing}


def _check_shapes(tensors: Tensors, expected: dict[str, torch.Size]) -> None:
    missing = [name for name in expected if name not in tensors]
    extra = [name for name in tensors if name not in expected]
    shape = [
        {"name": name, "expected": list(expected[name]), "found": list(tensor.shape)}
        for name, tensor in tensors.items()
        if name in expected and tensor.shape != expected[name]
    ]
    total = len(missing) + len(extra) + len(shape)
    if total == 0:
        return
    raise InputRejected(
        "teacher_mismatch",
        f"The checkpoint doesn't fit the network: {len(missing)} tensors are missing, "
        f"{len(extra)} are not of it, {len(shape)} have other shapes. Give the name and options "
        "of the network it was trained as.",
        field="network",
        tensors=_named(missing, extra, shape) | {"total": total},
    )


def _named(missing: list[str], extra: list[str], shape: list[dict[str, Any]]) -> dict[str, Any]:
    """At most 20 names over all three lists, the wrong shapes first: they say most."""
    some_shapes = shape[:MAX_NAMED]
    some_missing = missing[: MAX_NAMED - len(some_shapes)]
    some_extra = extra[: MAX_NAMED - len(some_shapes) - len(some_missing)]
    return {"missing": some_missing, "extra": some_extra, "shape": some_shapes}


@torch.inference_mode()
def _check_forward(module: nn.Module, fed: AnyInput, *, classes: int) -> None:
    logits = module(feed.example(fed, 2))
    if logits.shape != (2, classes) or not torch.isfinite(logits).all():
        raise InputRejected(
            "non_finite_output",
            f"On a blank item the network doesn't give {classes} finite outputs; take another "
            "checkpoint, or check 'network' and 'input'.",
        )
