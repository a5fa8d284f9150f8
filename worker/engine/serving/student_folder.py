"""The folder that is served: weights and a configuration that the family's own loader reads."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import nn

from stillhouse.spec import AnyInput, InputSpec, NetworkSpec, TextInput
from worker.engine.serving import builtin_export, timm_config, transformers_config

WEIGHTS = "model.safetensors"
CONFIG = "config.json"


def write(
    folder: Path,
    network: nn.Module,
    *,
    spec: NetworkSpec,
    input: AnyInput,  # noqa: A002 - the word of the specs
    classes: list[str],
    files: Mapping[str, str] | None = None,
) -> list[Path]:
    """Write a student as it is served; equal weights give equal bytes of weights and config.

    A timm student loads with `timm.create_model("local-dir:<folder>", pretrained=True)`, one of
    transformers with `from_pretrained`, its tokenizer beside it. A builtin student has an exported
    program beside its weights, which needs torch alone.

    Args:
        folder: Made if it isn't there.
        network: On any device; its mode is kept.
        spec: What `network` was built from.
        input: What `network` is fed.
        classes: A name per output, in order.
        files: Where tokenizers' files lie, by SHA-256.

    Returns:
        The files written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    _write_weights(folder / WEIGHTS, network)
    written = [folder / WEIGHTS, folder / CONFIG]
    if spec.family == "timm" and isinstance(input, InputSpec):
        _write_json(
            folder / CONFIG, timm_config.make(network, spec=spec, fed=input, classes=classes)
        )
        return written
    if spec.family == "transformers":
        config = transformers_config.make(network, classes=classes)
        ours = _our_config(spec=spec, fed=input, classes=classes)
        _write_json(folder / CONFIG, config | {"stillhouse": ours["stillhouse"]})
        return [*written, *_copy_tokenizer(folder, input, files or {})]
    _write_json(folder / CONFIG, _our_config(spec=spec, fed=input, classes=classes))
    return [*written, builtin_export.write(folder, network, fed=input)]


def _write_weights(path: Path, network: nn.Module) -> None:
    # Tensors that share memory are written out one by one: a strict load in a network that
    # ties them finds every name, and sets the shared tensor to the same values twice.
    tensors = {
        name: tensor.detach().cpu().contiguous().clone()
        for name, tensor in network.state_dict().items()
    }
    safetensors.torch.save_file(tensors, path, metadata={"format": "pt"})


def _our_config(*, spec: NetworkSpec, fed: AnyInput, classes: list[str]) -> dict[str, Any]:
    return {
        "architecture": spec.name,
        "stillhouse": {
            "network": spec.model_dump(mode="json"),
            "input": fed.model_dump(mode="json"),
            "classes": classes,
        },
    }


def _copy_tokenizer(folder: Path, fed: AnyInput, files: Mapping[str, str]) -> list[Path]:
    listed = fed.tokenizer if isinstance(fed, TextInput) else None
    written = []
    for name, sha256 in (listed or {}).items():
        shutil.copyfile(files[sha256], folder / name)
        written.append(folder / name)
    return written


def _write_json(path: Path, value: dict[str, Any]) -> None:
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    path.write_text(text + "\n", encoding="utf-8")
