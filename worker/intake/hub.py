"""A Hub folder's config.json, in timm's format."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from stillhouse.errors import InputRejected
from stillhouse.spec import InputSpec, NetworkSpec

MAX_CONFIG_BYTES = 8 << 20
REFUSED_KEYS = frozenset({"auto_map", "_target_", "__class__", "trust_remote_code"})
_CHANNELS = {1: "gray", 3: "rgb"}


@dataclass(frozen=True, slots=True)
class Config:
    """What a config.json says; None where it says nothing."""

    network: NetworkSpec
    input: InputSpec | None
    classes: tuple[str, ...] | None
    class_count: int | None


def read(path: Path) -> Config:
    """Network, input and classes of a config.json, as far as it names them.

    Refused as `InputRejected`: `config_invalid`, `config_refused`, `not_available`.
    """
    config = _parse(path)
    refused = REFUSED_KEYS.intersection(_keys(config))
    if refused:
        raise InputRejected(
            "config_refused",
            f"config.json names code to be run ({', '.join(sorted(refused))}); remove it.",
        )
    if "architecture" not in config and "model_type" in config:
        raise InputRejected(
            "not_available",
            "This is a transformers folder, which can't be taken in yet; send a timm folder.",
        )
    pretrained = config.get("pretrained_cfg") or {}
    if not isinstance(pretrained, dict):
        raise _invalid("'pretrained_cfg' is not an object")
    try:
        return Config(
            network=NetworkSpec(
                family="timm", name=config["architecture"], options=config.get("model_args") or {}
            ),
            input=_input(pretrained),
            classes=_classes(config, pretrained),
            class_count=_class_count(config, pretrained),
        )
    except KeyError as error:
        raise _invalid("'architecture' is missing") from error
    except ValidationError as error:
        raise _invalid(error.errors()[0]["msg"]) from error


def _parse(path: Path) -> dict[str, Any]:
    if path.stat().st_size > MAX_CONFIG_BYTES:
        raise _invalid("it is too long")
    try:
        config = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise _invalid("it is not JSON") from error
    if not isinstance(config, dict):
        raise _invalid("it is not an object")
    return config


def _keys(value: Any) -> Iterator[str]:
    """Every key at every depth; json.loads has bounded the depth already."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from _keys(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _keys(inner)


def _input(pretrained: dict[str, Any]) -> InputSpec | None:
    size = pretrained.get("input_size")
    if size is None:
        return None
    if not isinstance(size, list) or len(size) != 3 or size[0] not in _CHANNELS:
        raise _invalid("'input_size' is not [1 or 3, height, width]")
    fields = {key: pretrained[key] for key in ("mean", "std") if pretrained.get(key) is not None}
    if pretrained.get("interpolation") in ("nearest", "bilinear", "bicubic"):
        fields["interpolation"] = pretrained["interpolation"]
    return InputSpec(size=(size[1], size[2]), channels=_CHANNELS[size[0]], **fields)


def _classes(config: dict[str, Any], pretrained: dict[str, Any]) -> tuple[str, ...] | None:
    names = config.get("label_names") or pretrained.get("label_names")
    if names is None:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise _invalid("'label_names' is not a list of names")
    if len(set(names)) != len(names):
        raise _invalid("'label_names' names a class twice")
    return tuple(names)


def _class_count(config: dict[str, Any], pretrained: dict[str, Any]) -> int | None:
    count = config.get("num_classes", pretrained.get("num_classes"))
    if count is not None and (type(count) is not int or count < 1):
        raise _invalid("'num_classes' is not a positive integer")
    return count


def _invalid(why: str) -> InputRejected:
    return InputRejected(
        "config_invalid", f"config.json can't be used: {why}; write it with timm's push_to_hf_hub."
    )
