"""A student's config.json as transformers writes it (PretrainedConfig.to_diff_dict)."""

from __future__ import annotations

from typing import Any

from torch import nn


def make(network: nn.Module, *, classes: list[str]) -> dict[str, Any]:
    """The configuration from which `from_pretrained` rebuilds a network.

    Args:
        network: Built by `networks.build`.
        classes: A name per output, in order.

    Returns:
        JSON data.
    """
    inner: Any = network.config
    config: dict[str, Any] = {**inner.to_diff_dict(), "architectures": [type(network).__name__]}
    config["id2label"] = {str(number): name for number, name in enumerate(classes)}
    config["label2id"] = {name: number for number, name in enumerate(classes)}
    config["dtype"] = "float32"
    return config
