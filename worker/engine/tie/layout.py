"""How a network's tensors are laid out: which axes are channels, in which blocks, of which kind."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.conv import _ConvNd

Axis = tuple[int, ...]
"""An axis as nested blocks, the outermost first: (12, 64) is twelve heads of 64 channels."""
Kind = Literal["linear", "plain", "mean", "variance"]

_HEAD_COUNTS = ("num_heads", "num_attention_heads", "n_heads")
_FUSED = {"qkv": 3, "kv": 2}
_PROJECTED = frozenset({
    "q", "k", "v", "query", "key", "value", "q_proj", "k_proj", "v_proj", "query_proj",
    "key_proj", "value_proj", "q_lin", "k_lin", "v_lin",
})  # fmt: skip
_JOINED = frozenset({"proj", "out_proj", "o_proj", "out_lin", "dense"})
_LINEAR_PARAMETERS = ("in_proj_weight", "in_proj_bias")
_EMBEDDINGS = ("embed", "embeddings", "token")


@dataclass(frozen=True, slots=True)
class Form:
    """One tensor's layout."""

    axes: tuple[Axis, ...]
    free: frozenset[int]
    """The axes that are channels; the others (kernels, positions, words) must be equal."""
    kind: Kind
    """`linear`: divided by the ratio; `plain`: as it is; `mean`, `variance`: of a batch norm."""
    positions: Axis = ()
    """Behind a flatten: the maps' height and width, or length; they must be equal."""


@dataclass(frozen=True, slots=True)
class Layout:
    """A network's tensors that can be tied: parameters, and batch normalisation's statistics."""

    forms: dict[str, Form]
    outputs: frozenset[str]
    """Tensors of the layer that puts out the logits; their first axis is the classes."""
    unread: dict[str, int]
    """Modules with attention heads that we can't read -> their number of heads."""
    groups: dict[str, int]
    """Grouped convolutions that aren't depthwise -> their number of groups."""


def read(network: nn.Module, example: Tensor) -> Layout:
    """Read a network's layout from its modules, and from one forward in eval mode.

    The forward finds what no module says: which linear layers follow a flatten, and which layer
    puts out the logits.

    Args:
        network: Any; its mode is kept.
        example: An input of it, two items or more.

    Returns:
        The layout.
    """
    flattened, last = _follow(network, example)
    forms: dict[str, Form] = {}
    heads, unread = _read_heads(network)
    groups: dict[str, int] = {}
    for name, module in network.named_modules():
        for own, tensor in _tied(module):
            axes = heads.get(f"{name}.{own}") or _axes(module, own, tensor, flattened.get(name))
            positions = flattened.get(name, ())[1:] if own == "weight" else ()
            form = Form(axes, _free(module, tensor), _kind(module, own), positions)
            forms[f"{name}.{own}" if name else own] = form
        if isinstance(module, _ConvNd) and 1 < module.groups < module.in_channels:
            groups[name] = module.groups
    outputs = frozenset(f"{last}.{own}" for own in ("weight", "bias")) if last else frozenset()
    return Layout(forms, outputs & forms.keys(), unread, groups)


def _tied(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    yield from module.named_parameters(recurse=False)
    if isinstance(module, _BatchNorm):
        for own in ("running_mean", "running_var"):
            if (statistic := getattr(module, own)) is not None:
                yield own, statistic


def _axes(module: nn.Module, own: str, tensor: Tensor, block: Axis | None) -> tuple[Axis, ...]:
    axes: list[Axis] = [(size,) for size in tensor.shape]
    if own == "weight" and block is not None:
        axes[1] = block
    if isinstance(module, _ConvNd) and 1 < module.groups == module.in_channels:
        axes[0] = (module.groups, tensor.shape[0] // module.groups)
    return tuple(axes)


def _free(module: nn.Module, tensor: Tensor) -> frozenset[int]:
    if isinstance(module, nn.Linear | _ConvNd):
        return frozenset(range(min(2, tensor.dim())))
    # Tables and other parameters hold channels in their last axis (C, 1, 1 included).
    long = [axis for axis, size in enumerate(tensor.shape) if size > 1]
    return frozenset(long[-1:])


def _kind(module: nn.Module, own: str) -> Kind:
    if own == "running_mean":
        return "mean"
    if own == "running_var":
        return "variance"
    if isinstance(module, nn.Linear | _ConvNd | nn.Embedding) or own in _LINEAR_PARAMETERS:
        return "linear"
    # A table of embeddings is a linear layer of one-hot inputs, whether a module or not.
    return "linear" if own.endswith(_EMBEDDINGS) else "plain"


def _read_heads(network: nn.Module) -> tuple[dict[str, tuple[Axis, ...]], dict[str, int]]:
    found: dict[str, tuple[Axis, ...]] = {}
    unread: dict[str, int] = {}
    modules = dict(network.named_modules())
    for name, module in modules.items():
        count = next((getattr(module, key) for key in _HEAD_COUNTS if hasattr(module, key)), None)
        if not isinstance(count, int) or count < 1:
            continue
        known = dict(_heads_of(module, name, count))
        outside = modules.get(f"{name.rpartition('.')[0]}.output.dense")
        if known and name.endswith((".self", ".attention")) and isinstance(outside, nn.Linear):
            joined = f"{name.rpartition('.')[0]}.output.dense.weight"
            known[joined] = ((outside.out_features,), _split(outside.in_features, count))
        if known:
            found |= known
        elif any(True for _ in module.parameters(recurse=False)) or _holds_linear(module):
            unread[name] = count
    return found, unread


def _holds_linear(module: nn.Module) -> bool:
    return any(isinstance(child, nn.Linear | _ConvNd) for child in module.children())


def _heads_of(module: nn.Module, name: str, count: int) -> Iterator[tuple[str, tuple[Axis, ...]]]:
    if isinstance(module, nn.MultiheadAttention) and module.in_proj_weight is not None:
        rows, inputs = module.in_proj_weight.shape
        yield f"{name}.in_proj_weight", (_split(rows, 3, count), (inputs,))
        if module.in_proj_bias is not None:
            yield f"{name}.in_proj_bias", (_split(rows, 3, count),)
    for own, child in module.named_children():
        if own == "norm":  # Of all heads, before they are joined.
            for kind, tensor in child.named_parameters():
                yield f"{name}.{own}.{kind}", (_split(tensor.numel(), count),)
        if not isinstance(child, nn.Linear):
            continue
        if own in _PROJECTED or own in _FUSED:
            fused = (_FUSED[own],) if own in _FUSED else ()
            rows_ = _split(child.out_features, *fused, count)
            yield f"{name}.{own}.weight", (rows_, (child.in_features,))
            yield f"{name}.{own}.bias", (rows_,)
        elif own in _JOINED:
            yield (
                f"{name}.{own}.weight",
                ((child.out_features,), _split(child.in_features, count)),
            )


def _split(size: int, *blocks: int) -> Axis:
    rest, left = divmod(size, math.prod(blocks))
    return (*blocks, rest) if left == 0 else (size,)


def _follow(network: nn.Module, example: Tensor) -> tuple[dict[str, Axis], str]:
    """Linear layers -> the (channels, positions…) that were flattened before them; the last one."""
    flattened: dict[str, Axis] = {}
    put_out: list[tuple[str, Tensor]] = []

    def watch(name: str, module: nn.Module) -> torch.utils.hooks.RemovableHandle:
        def hook(_module: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
            x = given[0]
            # A flatten of maps in their usual layout is a view of them, so they are its base.
            base = x._base  # noqa: SLF001 - there is no public name for it
            if base is not None and x.dim() == 2 < base.dim() and base.numel() == x.numel():
                flattened[name] = tuple(base.shape[1:])
            put_out.append((name, output))

        return module.register_forward_hook(hook)

    handles = [
        watch(name, module)
        for name, module in network.named_modules()
        if isinstance(module, nn.Linear | _ConvNd)
    ]
    training = network.training
    try:
        with torch.no_grad():
            logits: Tensor = network.eval()(example)
    finally:
        network.train(training)
        for handle in handles:
            handle.remove()
    same = (name for name, y in reversed(put_out) if y.data_ptr() == logits.data_ptr())
    return flattened, next(same, "")
