"""Taking in a teacher: whatever it came as, it leaves as one safetensors file that fits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import timm
from pydantic import ValidationError
from safetensors.torch import save_file

from stillhouse.errors import InputRejected
from stillhouse.spec import InputSpec, NetworkSpec, TeacherSpec
from worker.engine import networks
from worker.intake import checkpoints, fit, hub, publish
from worker.protocol import File, IntakeAssignment

WEIGHTS_IN_A_FOLDER = ("model.safetensors", "pytorch_model.bin")
Warnings = list[dict[str, str]]


def take(assignment: IntakeAssignment) -> tuple[dict[str, Any], list[File]]:
    """Take in one teacher: the message's result, and the file `model.safetensors`.

    What can't be taken is refused as `InputRejected`, with the code of what is wrong.
    """
    spec = TeacherSpec.model_validate(assignment["spec"])
    weights, config = _open(assignment["sources"])
    network = spec.network or (config.network if config else None)
    if not isinstance(network, NetworkSpec):
        raise InputRejected(
            "network_required",
            "The bytes alone don't say the architecture; give 'network'.",
            field="network",
        )
    warnings: Warnings = []
    input_spec = _input(spec, config, network, warnings)
    tensors = checkpoints.read(weights, assignment["limits"])
    classes = spec.classes or (config.classes if config else None)
    count = _class_count(classes, network, config) or fit.count_classes(
        tensors, network, input_spec
    )
    module, fitting = fit.load(tensors, network, input_spec, classes=count)
    parameters, macs = networks.measure(module, input_spec)
    target = Path(assignment["work"], "model.safetensors")
    save_file(fitting, target, metadata={"format": "pt"})
    result = {
        "network": _resolved(network, input_spec, count),
        "input": input_spec.model_dump(mode="json"),
        "classes": None if classes is None else list(classes),
        "class_count": count,
        "parameters": parameters,
        "macs": macs,
        "warnings": warnings,
    }
    return result, [publish.file(target)]


def _resolved(network: NetworkSpec, fed: InputSpec, classes: int) -> dict[str, Any]:
    """The network with nothing left to infer."""
    settled = {"num_classes": classes, "in_chans": fed.channel_count}
    return network.model_copy(update={"options": network.options | settled}).model_dump(mode="json")


def _open(sources: dict[str, str]) -> tuple[Path, hub.Config | None]:
    """The file with the weights, and what a config.json beside it says."""
    files = {name: Path(path) for name, path in sources.items()}
    if "weights" in files:
        if not files["weights"].is_dir():
            return files["weights"], None
        files = {child.name: child for child in files["weights"].iterdir() if child.is_file()}
    weights = next((files[name] for name in WEIGHTS_IN_A_FOLDER if name in files), None)
    if weights is None or "config.json" not in files:
        raise InputRejected(
            "files_missing",
            f"A folder needs config.json and one of {', '.join(WEIGHTS_IN_A_FOLDER)}.",
            field="weights",
        )
    return weights, hub.read(files["config.json"])


def _input(
    spec: TeacherSpec, config: hub.Config | None, network: NetworkSpec, warnings: Warnings
) -> InputSpec:
    """Explicit fields win over config.json, which wins over the network's own size."""
    known = {} if config is None or config.input is None else _set_fields(config.input)
    if isinstance(spec.input, InputSpec):
        known |= _set_fields(spec.input)
    if "size" not in known:
        known["size"] = _own_size(network)
    if "channels" not in known and network.options.get("in_chans") == 1:
        known["channels"] = "gray"
    if known.get("mean") is None and known.get("std") is None:
        warnings.append({
            "code": "input_statistics_assumed",
            "message": "No mean and std were given, so pixels are fed as they are, between 0 "
            "and 1; if the teacher was trained on normalised pixels, give input.mean and std.",
        })  # fmt: skip
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
