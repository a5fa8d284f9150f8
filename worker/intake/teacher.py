"""Taking in a teacher: whatever it came as, it leaves as one safetensors file that fits."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import timm
import torch
from pydantic import ValidationError
from safetensors.torch import save_file

from stillhouse.errors import InputRejected
from stillhouse.spec import AnyInput, InputSpec, NetworkSpec, SequenceInput, TeacherSpec
from worker.engine import networks
from worker.intake import checkpoints, fit, hub, outputs, publish, tokenizers
from worker.protocol import File, IntakeAssignment, IntakeLimits

INDEX = "model.safetensors.index.json"
WEIGHTS_IN_A_FOLDER = ("model.safetensors", INDEX, "pytorch_model.bin")
Files = Mapping[str, Path]
Warnings = list[dict[str, str]]


def take(assignment: IntakeAssignment) -> tuple[dict[str, Any], list[File]]:
    """Take in one teacher.

    What can't be taken is refused as `InputRejected`, with the code of what is wrong.

    Args:
        assignment: What to take in, and where it lies.

    Returns:
        The message's result, and the files: `model.safetensors`, and after it those of a text
        network's tokenizer; or `outputs.npz` (see `outputs.take`).

    Raises:
        InputRejected: `network_required`, and many others.
    """
    spec = TeacherSpec.model_validate(assignment["spec"])
    if spec.outputs is not None:
        return outputs.take(spec, spec.outputs, assignment)
    files, config = _open(assignment["sources"])
    network = spec.network or (config.network if config else None)
    if not isinstance(network, NetworkSpec):
        raise InputRejected(
            "network_required",
            "The bytes alone don't say the architecture; give 'network'.",
            field="network",
        )
    work = Path(assignment["work"])
    warnings: Warnings = []
    tokenizer = tokenizers.take(files, work) if network.family == "transformers" else None
    fed: AnyInput = (
        _input(spec, config, network, warnings)
        if tokenizer is None
        else tokenizers.input_of(tokenizer, spec.input, network)
    )
    tensors = _tensors(files, assignment["limits"])
    classes = spec.classes or (config.classes if config else None)
    count = _class_count(classes, network, config) or fit.count_classes(tensors, network, fed)
    module, fitting = fit.load(tensors, network, fed, classes=count)
    if tokenizer is not None:
        fit.check_vocabulary(module, highest=tokenizer.highest)
    parameters, macs = networks.measure(module, fed)
    target = work / "model.safetensors"
    save_file(fitting, target, metadata={"format": "pt"})
    result = {
        "network": _resolved(network, fed, count),
        "input": fed.model_dump(mode="json"),
        "classes": None if classes is None else list(classes),
        "class_count": count,
        "parameters": parameters,
        "macs": macs,
        "warnings": warnings,
    }
    return result, [publish.file(target), *(tokenizer.files if tokenizer else [])]


def _resolved(network: NetworkSpec, fed: AnyInput, classes: int) -> dict[str, Any]:
    """The network with nothing left to infer."""
    settled = {"num_classes": classes}
    if isinstance(fed, InputSpec):
        settled["in_chans"] = fed.channel_count
    return network.model_copy(update={"options": network.options | settled}).model_dump(mode="json")


def _open(sources: dict[str, str]) -> tuple[Files, hub.Config | None]:
    """The files by name, the single one with weights as "weights"; what a config.json says."""
    files = {name: Path(path) for name, path in sources.items()}
    if "weights" in files:
        if not files["weights"].is_dir():
            return files, None
        files = {child.name: child for child in files["weights"].iterdir() if child.is_file()}
    if "config.json" not in files or not any(name in files for name in WEIGHTS_IN_A_FOLDER):
        raise InputRejected(
            "files_missing",
            f"A folder needs config.json and one of {', '.join(WEIGHTS_IN_A_FOLDER)}.",
            field="weights",
        )
    return files, hub.read(files["config.json"])


def _tensors(files: Files, limits: IntakeLimits) -> dict[str, torch.Tensor]:
    found = next(name for name in ("weights", *WEIGHTS_IN_A_FOLDER) if name in files)
    if found == INDEX:
        return checkpoints.read_shards(files[INDEX], files, limits)
    return checkpoints.read(files[found], limits)


def _input(
    spec: TeacherSpec, config: hub.Config | None, network: NetworkSpec, warnings: Warnings
) -> AnyInput:
    """Explicit fields win over config.json, which wins over the network's own size."""
    if spec.input is not None and not isinstance(spec.input, InputSpec):
        return _with_statistics(spec.input, warnings)
    known = {} if config is None or config.input is None else _set_fields(config.input)
    if isinstance(spec.input, InputSpec):
        known |= _set_fields(spec.input)
    if "size" not in known:
        known["size"] = _own_size(network)
    if "channels" not in known and network.options.get("in_chans") == 1:
        known["channels"] = "gray"
    if known.get("mean") is None and known.get("std") is None:
        warnings.append(_assumed("pixels are fed as they are, between 0 and 1"))
    filled = {key: known.get(key) or default for key, default in (("mean", [0]), ("std", [1]))}
    try:
        return InputSpec.model_validate(known | filled)
    except ValidationError as error:
        raise InputRejected(
            "input_invalid",
            f"What config.json and 'input' say doesn't fit together: {error.errors()[0]['msg']}; "
            "give size, channels, mean and std in 'input'.",
            field="input",
        ) from error


def _with_statistics(given: AnyInput, warnings: Warnings) -> AnyInput:
    if isinstance(given, SequenceInput) and given.mean is None and given.std is None:
        warnings.append(_assumed("series are fed as they are"))
        return given.model_copy(update={"mean": (0.0,), "std": (1.0,)})
    return given


def _assumed(what: str) -> dict[str, str]:
    return {
        "code": "input_statistics_assumed",
        "message": f"No mean and std were given, so {what}; if the teacher was trained on "
        "normalised values, give input.mean and std.",
    }


def _set_fields(given: InputSpec) -> dict[str, Any]:
    return given.model_dump(exclude_unset=True, exclude_none=True)


def _own_size(network: NetworkSpec) -> tuple[int, int]:
    """The size a timm network was published with."""
    published = (
        timm.get_pretrained_cfg(network.name, allow_unregistered=True)
        if network.family == "timm"
        else None
    )
    if published is None or published.input_size is None:
        raise InputRejected(
            "input_required",
            "The network takes images of any size; give input.size as it was trained.",
            field="input",
        )
    _, height, width = published.input_size
    return height, width


def _class_count(
    classes: tuple[str, ...] | None, network: NetworkSpec, config: hub.Config | None
) -> int | None:
    stated = {
        "classes": None if classes is None else len(classes),
        "network.options.num_classes": network.options.get("num_classes"),
        "config.json": config.class_count if config else None,
    }
    counts = {where: count for where, count in stated.items() if isinstance(count, int)}
    if len(set(counts.values())) > 1:
        said = ", ".join(f"{where} says {count}" for where, count in counts.items())
        raise InputRejected(
            "class_count_differs", f"How many classes? {said}; make them agree.", field="classes"
        )
    return next(iter(counts.values()), None)
