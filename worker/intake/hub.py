"""A Hub folder's config.json, as timm or transformers write it."""

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
_SAID_ELSEWHERE = frozenset({
    "architectures", "dtype", "finetuning_task", "gradient_checkpointing", "id2label", "label2id",
    "model_type", "num_labels", "output_attentions", "output_hidden_states", "problem_type",
    "return_dict", "task_specific_params", "tokenizer_class", "torch_dtype", "torchscript",
    "transformers_version", "use_cache",
})  # fmt: skip
"""Of a transformers configuration: what doesn't change the network that is built here."""
_NO_PRUNING: tuple[str, Any] = ("pruned_heads", {})  # as transformers wrote it until 4
_UNNAMED = "LABEL_"


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
    try:
        config = parse(path)
    except ValueError as error:
        raise _invalid(str(error)) from error
    refused = code_in(config)
    if refused:
        raise InputRejected(
            "config_refused", f"config.json names code to be run ({', '.join(refused)}); remove it."
        )
    try:
        if "architecture" in config:
            return _of_timm(config)
        if "model_type" in config:
            return _of_transformers(config)
    except ValidationError as error:
        raise _invalid(error.errors()[0]["msg"]) from error
    raise _invalid("neither 'architecture' nor 'model_type' is there")


def parse(path: Path) -> dict[str, Any]:
    """A file's JSON object; raises `ValueError`, with what is wrong, if it holds no such thing."""
    if path.stat().st_size > MAX_CONFIG_BYTES:
        raise ValueError("it is too long")
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError("it is not JSON") from error
    if not isinstance(found, dict):
        raise ValueError("it is not an object")  # noqa: TRY004  # a user's bytes are no wrong type
    return found


def code_in(config: dict[str, Any]) -> list[str]:
    """The keys of a configuration, at any depth, that name code to be run."""
    return sorted(REFUSED_KEYS.intersection(_keys(config)))


def _of_timm(config: dict[str, Any]) -> Config:
    pretrained = config.get("pretrained_cfg") or {}
    if not isinstance(pretrained, dict):
        raise _invalid("'pretrained_cfg' is not an object")
    return Config(
        network=NetworkSpec(
            family="timm", name=config["architecture"], options=config.get("model_args") or {}
        ),
        input=_input(pretrained),
        classes=_classes(config, pretrained),
        class_count=_class_count(config, pretrained),
    )


def _of_transformers(config: dict[str, Any]) -> Config:
    problem = config.get("problem_type")
    if problem not in (None, "single_label_classification"):
        raise InputRejected(
            "not_available",
            f"This network was trained for {str(problem)[:50]}; send one that tells classes apart.",
        )
    names = _label_names(config.get("id2label"))
    count = config.get("num_labels") if names is None else len(names)
    if count is not None and (type(count) is not int or count < 1):
        raise _invalid("'num_labels' is not a positive integer")
    unnamed = names is None or all(name.startswith(_UNNAMED) for name in names)
    options = {
        key: value
        for key, value in config.items()
        if key not in _SAID_ELSEWHERE and not key.startswith("_") and (key, value) != _NO_PRUNING
    }
    return Config(
        network=NetworkSpec(family="transformers", name=config["model_type"], options=options),
        input=None,
        classes=None if unnamed else names,
        class_count=count,
    )


def _label_names(given: Any) -> tuple[str, ...] | None:
    """The names in the order of the outputs, from {"0": name, …}."""
    if given is None:
        return None
    if not isinstance(given, dict) or set(given) != {str(place) for place in range(len(given))}:
        raise _invalid("'id2label' doesn't name the outputs 0, 1, …")
    return _distinct([given[str(place)] for place in range(len(given))], "id2label")


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
    return None if names is None else _distinct(names, "label_names")


def _distinct(names: Any, key: str) -> tuple[str, ...]:
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise _invalid(f"'{key}' is not a list of names")
    if len(set(names)) != len(names):
        raise _invalid(f"'{key}' names a class twice")
    return tuple(names)


def _class_count(config: dict[str, Any], pretrained: dict[str, Any]) -> int | None:
    count = config.get("num_classes", pretrained.get("num_classes"))
    if count is not None and (type(count) is not int or count < 1):
        raise _invalid("'num_classes' is not a positive integer")
    return count


def _invalid(why: str) -> InputRejected:
    return InputRejected(
        "config_invalid",
        f"config.json can't be used: {why}; write it with timm's push_to_hf_hub or with "
        "transformers' save_pretrained.",
    )
