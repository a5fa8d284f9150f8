"""A student's config.json as timm writes it for the Hub (timm.models._hub.save_config_for_hf)."""

from __future__ import annotations

from typing import Any

from torch import nn

from stillhouse.spec import InputSpec, NetworkSpec

_OF_THE_ARCHITECTURE = ("first_conv", "classifier", "fixed_input_size")


def make(
    network: nn.Module, *, spec: NetworkSpec, fed: InputSpec, classes: list[str]
) -> dict[str, Any]:
    """The configuration from which `timm.create_model("local-dir:…")` rebuilds a network.

    Args:
        network: Built by timm.
        spec: Its architecture and options.
        fed: What it is fed.
        classes: A name per output, in order.

    Returns:
        JSON data.
    """
    config: dict[str, Any] = {
        "architecture": spec.name.partition(".")[0],
        "num_classes": len(classes),
        "num_features": network.num_features,
    }
    pooling = _global_pool(network)
    if pooling:
        config["global_pool"] = pooling
    config["label_names"] = classes
    config["model_args"] = _model_args(network, spec=spec, fed=fed)
    config["pretrained_cfg"] = _pretrained_cfg(network, fed=fed, classes=len(classes))
    return config


def _model_args(network: nn.Module, *, spec: NetworkSpec, fed: InputSpec) -> dict[str, Any]:
    """The constructor's options; `num_classes` among them would break transformers' loader."""
    taken = {key: value for key, value in spec.options.items() if value is not None}
    taken.pop("num_classes", None)
    taken.pop("in_chans", None)
    if fed.channel_count != 3:
        taken["in_chans"] = fed.channel_count
    # A network whose image size isn't fixed by timm may have been given one all the same.
    size = getattr(network, "_model_args", {}).get("img_size")
    if size is not None:
        taken["img_size"] = list(size) if isinstance(size, tuple) else size
    return taken


def _pretrained_cfg(network: nn.Module, *, fed: InputSpec, classes: int) -> dict[str, Any]:
    given: Any = network.pretrained_cfg
    channels = fed.channel_count
    config: dict[str, Any] = {
        "tag": "distilled",
        "custom_load": False,
        "input_size": [channels, *fed.size],
        "interpolation": fed.interpolation,
        "crop_pct": 1.0,
        # The whole image, stretched to the input size: nothing is cut off at the edges.
        "crop_mode": "squash",
        "mean": expand(fed.mean, channels=channels, default=0.0),
        "std": expand(fed.std, channels=channels, default=1.0),
        "num_classes": classes,
    }
    return config | {key: given[key] for key in _OF_THE_ARCHITECTURE if given.get(key) is not None}


def expand(values: tuple[float, ...] | None, *, channels: int, default: float) -> list[float]:
    """One value per channel from one per channel, one for all, or none at all."""
    values = values or (default,)
    return list(values) if len(values) == channels else [values[0]] * channels


def _global_pool(network: nn.Module) -> str:
    """How the network pools, where it says so: `avg` or `token`."""
    pooling = getattr(network, "global_pool", "")
    if isinstance(pooling, nn.Module):
        pooling = getattr(pooling, "pool_type", "")
    return pooling if isinstance(pooling, str) else ""
