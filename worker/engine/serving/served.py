"""A student as it is served: rebuilt from its files by its family's own loader."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import safetensors.torch
import timm
from torch import nn

from stillhouse.spec import AnyInput, NetworkSpec
from worker.engine import networks
from worker.engine.networks import transformers_family
from worker.engine.serving import student_folder


def load(
    files: dict[str, str], *, spec: NetworkSpec, fed: AnyInput, classes: int, folder: Path
) -> nn.Module:
    """Rebuild a student.

    Args:
        files: Listed path -> where it lies, with the weights and the configuration.
        spec: Its architecture.
        fed: What it is fed.
        classes: Its outputs.
        folder: A place that doesn't exist yet, for links to the files.

    Returns:
        The network, on the CPU, in eval mode.
    """
    if spec.family == "timm":
        _link(files, folder)
        timm_network: nn.Module = timm.create_model(f"local-dir:{folder}", pretrained=True)
        return timm_network.eval()
    if spec.family == "transformers":
        _link(files, folder)
        return _load_transformers(folder)
    network = networks.build(spec, classes=classes, fed=fed)
    weights = safetensors.torch.load_file(files[student_folder.WEIGHTS])
    network.load_state_dict(weights, strict=True)
    return network.eval()


def _load_transformers(folder: Path) -> nn.Module:
    """By `from_pretrained`, as a user has it; then it takes tokens as all of ours do."""
    from transformers import AutoModelForSequenceClassification  # noqa: PLC0415 - loads slowly

    load: Any = AutoModelForSequenceClassification.from_pretrained
    network: nn.Module = load(folder, local_files_only=True, use_safetensors=True)
    return transformers_family.taking_tokens(network.eval())


def _link(files: dict[str, str], folder: Path) -> None:
    """The files under their listed names, as someone who downloaded them has them."""
    folder.mkdir(parents=True)
    for name in (student_folder.CONFIG, student_folder.WEIGHTS):
        (folder / name).symlink_to(Path(files[name]).resolve())
