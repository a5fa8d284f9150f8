"""Networks of timm, by the names of its registry."""

from __future__ import annotations

import difflib

import timm
from torch import nn

from stillhouse.errors import InputRejected
from stillhouse.spec import AnyInput, InputSpec, NetworkSpec
from worker.engine.networks import options


def names() -> list[str]:
    """The architectures that timm knows."""
    return list(timm.list_models())


def construct(spec: NetworkSpec, *, classes: int, fed: AnyInput, field: str) -> nn.Module:
    """Have timm make the network, without looking for any weights.

    Args:
        spec: The network.
        classes: Outputs.
        fed: Images; their size is given to networks that are built for one.
        field: Where the specification stands in what the user sent.

    Returns:
        The network.

    Raises:
        InputRejected: `unknown_network` or `modality_differs`.
    """
    if not isinstance(fed, InputSpec):
        options.refuse_modality(spec, fed, takes="image", field=field)
    if not timm.is_model(spec.name):
        close = difflib.get_close_matches(spec.name, names(), n=5)
        raise InputRejected(
            "unknown_network",
            f"timm has no network '{spec.name}'"
            + (f"; did you mean {', '.join(close)}?" if close else ". See GET /v1/networks."),
            field=f"{field}.name",
            allowed=close,
        )
    given = options.rest(spec)
    card = timm.get_pretrained_cfg(spec.name, allow_unregistered=True)
    if card is not None and card.fixed_input_size:
        given = {"img_size": fed.size} | given
    network: nn.Module = timm.create_model(
        spec.name, pretrained=False, num_classes=classes, in_chans=fed.channel_count, **given
    )
    return network
