"""Our own networks, by name."""

from __future__ import annotations

import difflib
import math
from typing import Annotated, TypeVar

from pydantic import Field, ValidationError
from torch import nn

from stillhouse.errors import InputRejected
from stillhouse.spec import (
    AnyInput,
    Frozen,
    InputSpec,
    NetworkSpec,
    SequenceInput,
    TableInput,
    TextInput,
)
from worker.engine.networks import convolutional, options, residual, table, vgg, wide
from worker.engine.networks.perceptron import Perceptron

PERCEPTRON, CONVOLUTIONAL, TRANSFORMER = "mlp", "conv1d", "tabular_transformer"
IMAGES = (*residual.SHAPES, *wide.SHAPES, *vgg.SHAPES)
"""Names of the CRD benchmark's networks."""
_Options = TypeVar("_Options", bound=Frozen)
_Factor = Annotated[float, Field(gt=0, le=64)]
_Blocks = Annotated[int, Field(ge=1, le=1000)]
_Width = Annotated[int, Field(ge=1, le=65_536)]
_Dropout = Annotated[float, Field(ge=0, lt=1)]


class VggOptions(Frozen):
    """Of `vgg*`."""

    width: _Factor = 1.0
    """A factor on every width."""


class ResidualOptions(VggOptions):
    """Of `resnet*` and `wrn_*`."""

    blocks: _Blocks | None = None
    """Of each stage; None: as the name says."""


class PerceptronOptions(Frozen):
    """Of `mlp`."""

    hidden: Annotated[tuple[_Width, ...], Field(max_length=32)] = (256, 256)
    """Widths of the hidden layers; none makes it linear."""
    dropout: _Dropout = 0.0


class ConvolutionalOptions(Frozen):
    """Of `conv1d`."""

    width: _Width = 32
    """Channels of the first stage; each further one has twice as many."""
    blocks: _Blocks = 2
    """Of each of the three stages."""
    kernel: Annotated[int, Field(ge=1, le=255)] = 7

    def model_post_init(self, _context: object, /) -> None:
        """Raise `ValueError` for an even kernel, which has no middle."""
        if self.kernel % 2 == 0:
            message = "the kernel must be odd"
            raise ValueError(message)


class TransformerOptions(Frozen):
    """Of `tabular_transformer`."""

    dim: _Width = 64
    depth: Annotated[int, Field(ge=1, le=64)] = 3
    heads: Annotated[int, Field(ge=1, le=64)] = 4
    dropout: _Dropout = 0.1

    def model_post_init(self, _context: object, /) -> None:
        """Raise `ValueError` unless the heads share the width evenly."""
        if self.dim % self.heads:
            message = "dim must be a multiple of heads"
            raise ValueError(message)


def names() -> list[str]:
    """The networks that are ours."""
    return [*IMAGES, PERCEPTRON, CONVOLUTIONAL, TRANSFORMER]


def construct(spec: NetworkSpec, *, classes: int, fed: AnyInput, field: str) -> nn.Module:
    """Make the network.

    Args:
        spec: The network.
        classes: Outputs.
        fed: What it is fed.
        field: Where the specification stands in what the user sent.

    Returns:
        The network.

    Raises:
        InputRejected: `unknown_network`, `network_option_refused` or `modality_differs`.
    """
    name = spec.name
    if name not in names():
        raise InputRejected(
            "unknown_network",
            f"There is no builtin network '{name}'; there are {', '.join(names())}.",
            field=f"{field}.name",
            allowed=difflib.get_close_matches(name, names(), n=5) or names(),
        )
    if name == PERCEPTRON:
        return _perceptron(spec, classes=classes, fed=fed, field=field)
    if name == CONVOLUTIONAL:
        if not isinstance(fed, SequenceInput):
            options.refuse_modality(spec, fed, takes="sequence", field=field)
        shape = read(ConvolutionalOptions, spec, field=field)
        return convolutional.ConvolutionalNetwork(
            first=shape.width,
            blocks=shape.blocks,
            kernel=shape.kernel,
            classes=classes,
            channels=fed.channels,
        )
    if name == TRANSFORMER:
        if not isinstance(fed, TableInput):
            options.refuse_modality(spec, fed, takes="tabular", field=field)
        chosen = read(TransformerOptions, spec, field=field)
        return table.TabularTransformer(fed, **chosen.model_dump(), classes=classes)
    return _image_network(spec, classes=classes, fed=fed, field=field)


def _image_network(spec: NetworkSpec, *, classes: int, fed: AnyInput, field: str) -> nn.Module:
    if not isinstance(fed, InputSpec):
        options.refuse_modality(spec, fed, takes="image", field=field)
    channels = fed.channel_count
    if spec.name in vgg.SHAPES:
        narrow = read(VggOptions, spec, field=field)
        return vgg.make(spec.name, width=narrow.width, classes=classes, channels=channels)
    chosen = read(ResidualOptions, spec, field=field)
    make = residual.make if spec.name in residual.SHAPES else wide.make
    return make(
        spec.name, width=chosen.width, blocks=chosen.blocks, classes=classes, channels=channels
    )


def _perceptron(spec: NetworkSpec, *, classes: int, fed: AnyInput, field: str) -> nn.Module:
    chosen = read(PerceptronOptions, spec, field=field)
    first: table.FlatColumns | None = None
    match fed:
        case InputSpec():
            inputs = fed.channel_count * math.prod(fed.size)
        case SequenceInput():
            inputs = fed.channels * fed.length
        case TableInput():
            first = table.FlatColumns(fed)
            inputs = first.width
        case TextInput():
            options.refuse_modality(spec, fed, takes="image, sequence or tabular", field=field)
    return Perceptron(
        inputs=inputs, hidden=chosen.hidden, classes=classes, dropout=chosen.dropout, first=first
    )


def read(kind: type[_Options], spec: NetworkSpec, *, field: str) -> _Options:
    """A network's options.

    Args:
        kind: What they may be.
        spec: The network.
        field: Where the specification stands in what the user sent.

    Returns:
        The options, with their defaults.

    Raises:
        InputRejected: `network_option_refused`.
    """
    try:
        return kind.model_validate(options.rest(spec))
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise InputRejected(
            "network_option_refused",
            f"The option '{name}' of '{spec.name}': {first['msg']}.",
            field=f"{field}.options.{name}" if name else f"{field}.options",
        ) from error
