"""A student by its teacher's architecture, made smaller: by width, by depth, or to a size.

Heads stay whole: a transformer loses heads, never a part of one. Depth is a share of each stage's
blocks. A size is reached by width, as near as widths allow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from stillhouse.errors import InputRejected
from stillhouse.spec import AnyInput, NetworkSpec, Shrink
from worker.engine.networks import builtin, residual, timm_family, transformers_family, vgg, wide

Changes = dict[str, Any]
Way = Callable[[NetworkSpec, nn.Module, float], Changes]
"""From a network and a share to the options that change; raises `_Nothing`."""

_HALVINGS = 14
_WIDTHS = ("hidden_size", "embedding_size", "intermediate_size", "dim", "hidden_dim")
_HEADS = ("num_attention_heads", "n_heads")
_LAYERS = ("num_hidden_layers", "n_layers")


class _Nothing(Exception):
    """What would be left is less than one channel."""


def resolve(
    shrink: Shrink, teacher: NetworkSpec, *, fed: AnyInput, classes: int, field: str
) -> NetworkSpec:
    """The network that a teacher's is shrunk to.

    Args:
        shrink: How.
        teacher: The teacher's network.
        fed: What the student is fed.
        classes: Its outputs.
        field: Where `shrink` stands in what the user sent.

    Returns:
        The student's network, of the teacher's family and name.

    Raises:
        InputRejected: `shrink_not_supported` or `shrink_to_nothing`.
    """
    teacher = _without_classes(teacher)
    network = _on_meta(teacher, fed=fed, classes=classes, field=field)
    way = _way(teacher, network, by_depth=shrink.depth is not None)
    if way is None:
        raise InputRejected(
            "shrink_not_supported",
            f"'{teacher.name}' can't be made smaller this way. By width and depth: builtin "
            "networks (vgg by width alone), timm's ResNets and vision transformers, and "
            "transformers' encoders. Name a 'network' instead.",
            field=field,
        )

    def at(share: float) -> NetworkSpec:
        return _changed(teacher, way(teacher, network, share))

    try:
        if shrink.parameters is not None:
            wanted = shrink.parameters * _count(network)

            def count(share: float) -> int:
                return _count(_on_meta(at(share), fed=fed, classes=classes, field=field))

            return at(_share_for(wanted, count))
        return at(shrink.width or shrink.depth or 1.0)
    except _Nothing as error:
        raise InputRejected(
            "shrink_to_nothing",
            "So small a share leaves less than one channel, head or unit; take a larger one.",
            field=field,
        ) from error


def _share_for(wanted: float, count: Callable[[int | float], int]) -> float:
    """The width whose number of parameters comes nearest; raises `_Nothing` below the smallest."""
    low, high = 0.0, 1.0
    best: tuple[float, float] | None = None
    for _ in range(_HALVINGS):
        share = (low + high) / 2
        try:
            found = count(share)
        except _Nothing:
            low = share
            continue
        distance = abs(found - wanted)
        if best is None or distance < best[0]:
            best = distance, share
        low, high = (low, share) if found > wanted else (share, high)
    if best is None or best[0] > wanted / 2:
        raise _Nothing
    return best[1]


def _way(spec: NetworkSpec, network: nn.Module, *, by_depth: bool) -> Way | None:
    if spec.family == "transformers":
        return _transformers_depth if by_depth else _transformers_width
    if spec.family == "timm":
        kind = type(network).__name__
        ways = {"ResNet": (_timm_width, _timm_depth), "VisionTransformer": (_vit_width, _vit_depth)}
        found = ways.get(kind)
        return None if found is None else found[by_depth]
    if spec.name in vgg.SHAPES:
        return None if by_depth else _factor
    if spec.name in (*residual.SHAPES, *wide.SHAPES):
        return _blocks if by_depth else _factor
    return {
        builtin.PERCEPTRON: (_mlp_width, _mlp_depth),
        builtin.CONVOLUTIONAL: (_conv_width, _conv_depth),
        builtin.TRANSFORMER: (_table_width, _table_depth),
    }[spec.name][by_depth]


def _scaled(value: float, share: float) -> int:
    """At least one; raises `_Nothing` where even a half is left out."""
    if value * share < 0.5:
        raise _Nothing
    return max(round(value * share), 1)


def _fewer(value: int, share: float) -> int:
    return max(round(value * share), 1)


def _factor(spec: NetworkSpec, network: nn.Module, share: float) -> Changes:
    smallest = min(m.out_channels for m in network.modules() if isinstance(m, nn.Conv2d))
    _scaled(smallest, share)
    return {"width": float(_number(spec.options.get("width"), 1.0)) * share}


def _blocks(spec: NetworkSpec, network: nn.Module, share: float) -> Changes:
    del spec
    stage = network.get_submodule("layer1" if hasattr(network, "layer1") else "block1.layer")
    return {"blocks": _fewer(sum(1 for _ in stage.children()), share)}


def _mlp_width(spec: NetworkSpec, _network: nn.Module, share: float) -> Changes:
    chosen = builtin.read(builtin.PerceptronOptions, spec, field="shrink")
    return {"hidden": [_scaled(width, share) for width in chosen.hidden]}


def _mlp_depth(spec: NetworkSpec, _network: nn.Module, share: float) -> Changes:
    chosen = builtin.read(builtin.PerceptronOptions, spec, field="shrink")
    if not chosen.hidden:
        raise _Nothing
    return {"hidden": list(chosen.hidden[: _fewer(len(chosen.hidden), share)])}


def _conv_width(spec: NetworkSpec, _network: nn.Module, share: float) -> Changes:
    chosen = builtin.read(builtin.ConvolutionalOptions, spec, field="shrink")
    return {"width": _scaled(chosen.width, share)}


def _conv_depth(spec: NetworkSpec, _network: nn.Module, share: float) -> Changes:
    chosen = builtin.read(builtin.ConvolutionalOptions, spec, field="shrink")
    return {"blocks": _fewer(chosen.blocks, share)}


def _table_width(spec: NetworkSpec, _network: nn.Module, share: float) -> Changes:
    chosen = builtin.read(builtin.TransformerOptions, spec, field="shrink")
    heads = _scaled(chosen.heads, share)
    return {"heads": heads, "dim": heads * (chosen.dim // chosen.heads)}


def _table_depth(spec: NetworkSpec, _network: nn.Module, share: float) -> Changes:
    chosen = builtin.read(builtin.TransformerOptions, spec, field="shrink")
    return {"depth": _fewer(chosen.depth, share)}


def _timm_stages(network: nn.Module) -> list[nn.Module]:
    return [network.get_submodule(f"layer{stage}") for stage in (1, 2, 3, 4)]


def _timm_width(spec: NetworkSpec, network: nn.Module, share: float) -> Changes:
    del spec
    widths = []
    for stage in _timm_stages(network):
        block: Any = next(stage.children())
        last = block.conv3 if hasattr(block, "conv3") else block.conv2
        widths.append(_scaled(last.out_channels // type(block).expansion, share))
    return {"channels": widths}


def _timm_depth(spec: NetworkSpec, network: nn.Module, share: float) -> Changes:
    del spec
    counts = [sum(1 for _ in stage.children()) for stage in _timm_stages(network)]
    return {"layers": [_fewer(count, share) for count in counts]}


def _vit_width(spec: NetworkSpec, network: nn.Module, share: float) -> Changes:
    del spec
    given: Any = network
    heads = given.blocks[0].attn.num_heads
    kept = _scaled(heads, share)
    return {"num_heads": kept, "embed_dim": kept * (given.embed_dim // heads)}


def _vit_depth(spec: NetworkSpec, network: nn.Module, share: float) -> Changes:
    del spec
    given: Any = network
    return {"depth": _fewer(len(given.blocks), share)}


def _transformers_width(spec: NetworkSpec, network: nn.Module, share: float) -> Changes:
    del spec
    config: Any = network.config
    name = next(name for name in _HEADS if hasattr(config, name))
    heads = getattr(config, name)
    kept = _scaled(heads, share)
    # What depends on the heads keeps its width for each of them.
    sizes = {size: getattr(config, size) for size in _WIDTHS if hasattr(config, size)}
    changed = {
        size: value // heads * kept if value % heads == 0 else _scaled(value, kept / heads)
        for size, value in sizes.items()
        if isinstance(value, int)
    }
    return {name: kept} | changed


def _transformers_depth(spec: NetworkSpec, network: nn.Module, share: float) -> Changes:
    del spec
    config: Any = network.config
    name = next(name for name in _LAYERS if hasattr(config, name))
    return {name: _fewer(getattr(config, name), share)}


def _without_classes(spec: NetworkSpec) -> NetworkSpec:
    """The student has its own classes and channels."""
    options = {k: v for k, v in spec.options.items() if k not in ("num_classes", "in_chans")}
    return spec.model_copy(update={"options": options})


def _changed(spec: NetworkSpec, changes: Changes) -> NetworkSpec:
    return spec.model_copy(update={"options": spec.options | changes})


def _number(value: Any, default: float) -> float:
    return float(value) if isinstance(value, int | float) else default


def _count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def _on_meta(spec: NetworkSpec, *, fed: AnyInput, classes: int, field: str) -> nn.Module:
    """The network where it takes no memory."""
    family = {"builtin": builtin, "timm": timm_family, "transformers": transformers_family}
    construct = family[spec.family].construct
    with torch.device("meta"):
        network: nn.Module = construct(spec, classes=classes, fed=fed, field=field)
    return network
