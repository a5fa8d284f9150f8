from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from safetensors.torch import load_file, save

from stillhouse.spec import InputSpec, NetworkSpec
from worker.engine import networks

RESNET = {"family": "builtin", "name": "resnet8", "options": {}}


def weights(network: dict[str, Any], *, classes: int = 3, size: int = 4) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    spec = NetworkSpec.model_validate(network)
    return networks.build(
        spec, classes=classes, fed=InputSpec(size=(size, size), channels="gray")
    ).state_dict()


@pytest.fixture
def resnet(intake: Any) -> Path:
    """A builtin network with 3 classes, as a checkpoint."""
    path: Path = intake.write("resnet.safetensors", save(weights(RESNET)))
    return path


def test_what_a_teacher_is_stands_in_the_result(intake: Any, resnet: Path) -> None:
    taken = intake.teacher(resnet, network=RESNET, classes=["a", "b", "c"])
    result = taken.result
    assert result["classes"] == ["a", "b", "c"]
    assert result["class_count"] == 3
    assert result["network"]["options"] == {"num_classes": 3, "in_chans": 1}
    assert result["input"]["mean"] == [0.0]
    assert result["input"]["std"] == [1.0]
    assert result["parameters"] > 70_000
    assert result["macs"] > 0
    assert [warning["code"] for warning in result["warnings"]] == ["input_statistics_assumed"]
    file = taken.listed["model.safetensors"]
    assert file["bytes"] == Path(file["file"]).stat().st_size


def test_given_statistics_need_no_warning(intake: Any, resnet: Path) -> None:
    fed = {"size": [4, 4], "channels": "gray", "mean": [0.5], "std": [0.2]}
    result = intake.teacher(resnet, network=RESNET, input=fed).result
    assert result["input"] == fed | {"modality": "image", "interpolation": "bilinear"}
    assert result["warnings"] == []


def test_counters_of_batches_may_be_missing(intake: Any) -> None:
    tensors = {k: v for k, v in weights(RESNET).items() if not k.endswith("num_batches_tracked")}
    taken = intake.teacher(intake.write("old.safetensors", save(tensors)), network=RESNET)
    stored = load_file(taken.files["model.safetensors"])
    assert stored["bn1.num_batches_tracked"] == 0


def test_a_mismatch_names_the_tensors(intake: Any, refused: Callable[..., Any]) -> None:
    tensors = weights(RESNET)
    tensors["fc2.weight"] = tensors.pop("fc.weight")
    tensors["conv1.weight"] = torch.zeros(1, 2, 3)
    path = intake.write("wrong.safetensors", save(tensors))
    spec = {"network": RESNET, "classes": ["a", "b", "c"]}
    found = refused("teacher_mismatch", lambda: intake.teacher(path, **spec))
    expected = list(weights(RESNET)["conv1.weight"].shape)
    assert found.extra["tensors"] == {
        "missing": ["fc.weight"],
        "extra": ["fc2.weight"],
        "shape": [{"name": "conv1.weight", "expected": expected, "found": [1, 2, 3]}],
        "total": 3,
    }


def test_at_most_twenty_tensors_are_named(
    intake: Any, resnet: Path, refused: Callable[..., Any]
) -> None:
    deep = RESNET | {"name": "resnet56"}
    found = refused(
        "teacher_mismatch", lambda: intake.teacher(resnet, network=deep, classes=["a", "b", "c"])
    )
    tensors = found.extra["tensors"]
    assert sum(len(tensors[key]) for key in ("missing", "extra", "shape")) == 20
    assert tensors["total"] > 100


BAD: dict[str, tuple[str, dict[str, Any]]] = {
    "another class count": ("teacher_mismatch", {"classes": ["a", "b"]}),
    "two class counts": (
        "class_count_differs",
        {"classes": ["a"], "network": RESNET | {"options": {"num_classes": 3}}},
    ),
    "an unknown network": ("unknown_network", {"network": RESNET | {"name": "resnet9000"}}),
    "no network": ("network_required", {"network": None, "weights": {"uri": "file:///a"}}),
    "no input size": ("input_required", {"input": None}),
}


@pytest.mark.parametrize("name", BAD)
def test_a_specification_that_does_not_fit_is_refused(
    name: str, intake: Any, resnet: Path, refused: Callable[..., Any]
) -> None:
    code, spec = BAD[name]
    refused(code, lambda: intake.teacher(resnet, **({"network": RESNET} | spec)))


def test_outputs_that_are_not_finite_are_refused(intake: Any, refused: Callable[..., Any]) -> None:
    tensors = weights(RESNET)
    tensors["bn1.running_var"] -= 100  # The root of a negative variance.
    path = intake.write("odd.safetensors", save(tensors))
    refused("non_finite_output", lambda: intake.teacher(path, network=RESNET))


@pytest.fixture
def hub(intake: Any) -> Callable[..., dict[str, Path]]:
    """A Hub folder with a timm network of 5 classes; its config.json changed as told."""

    def write(**changes: Any) -> dict[str, Path]:
        torch.manual_seed(0)
        model = timm.create_model("test_resnet", num_classes=5, in_chans=1)
        config = {
            "architecture": "test_resnet",
            "num_classes": 5,
            "model_args": {"in_chans": 1},
            "pretrained_cfg": {
                "input_size": [1, 24, 24], "mean": [0.4], "std": [0.3],
                "interpolation": "bicubic", "num_classes": 5, "label_names": list("abcde"),
            },
        }  # fmt: skip
        return {
            "config.json": intake.write("config.json", json.dumps(config | changes).encode()),
            "model.safetensors": intake.write("model.safetensors", save(model.state_dict())),
        }

    return write


def test_a_hub_folder_says_everything_itself(
    intake: Any, hub: Callable[..., dict[str, Path]]
) -> None:
    result = intake.teacher(hub(), network=None, input=None).result
    assert result["network"]["name"] == "test_resnet"
    assert result["classes"] == ["a", "b", "c", "d", "e"]
    assert result["input"] == {
        "modality": "image", "size": [24, 24], "channels": "gray", "mean": [0.4], "std": [0.3],
        "interpolation": "bicubic",
    }  # fmt: skip
    assert result["warnings"] == []


def test_explicit_fields_win_over_a_hub_folder(
    intake: Any, hub: Callable[..., dict[str, Path]]
) -> None:
    fed = {"size": [32, 32]}
    result = intake.teacher(hub(), network=None, input=fed, classes=list("vwxyz")).result
    assert result["classes"] == ["v", "w", "x", "y", "z"]
    assert result["input"]["size"] == [32, 32]
    assert result["input"]["channels"] == "gray"
    assert result["input"]["mean"] == [0.4]


def test_a_folder_on_disk_is_read_like_a_hub_folder(
    intake: Any, hub: Callable[..., dict[str, Path]]
) -> None:
    folder = hub()["config.json"].parent
    spec = {"network": None, "input": None, "weights": {"uri": f"file://{folder}"}}
    assert intake.teacher(folder, **spec).result["class_count"] == 5


REFUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "remote code": ("config_refused", {"auto_map": {"AutoModel": "x.y"}}),
    "remote code, deep": ("config_refused", {"extra": [{"a": {"_target_": "os.system"}}]}),
    "trust": ("config_refused", {"trust_remote_code": True}),
    "transformers": ("tokenizer_required", {"architecture": None, "model_type": "vit"}),
    "an odd input": ("config_invalid", {"pretrained_cfg": {"input_size": [4, 24, 24]}}),
    "odd statistics": (
        "config_invalid",
        {"pretrained_cfg": {"input_size": [1, 24, 24], "mean": "all"}},
    ),
    "a class twice": ("config_invalid", {"label_names": ["a"] * 5}),
    "an odd count": ("config_invalid", {"num_classes": 0}),
    "a fetching option": (
        "network_option_refused",
        {"model_args": {"checkpoint_path": "/etc/passwd"}},
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_hub_folder_that_asks_for_more_is_refused(
    name: str,
    intake: Any,
    hub: Callable[..., dict[str, Path]],
    refused: Callable[..., Any],
) -> None:
    code, changes = REFUSED[name]
    files = hub(**changes)
    config = json.loads(files["config.json"].read_text())
    kept = {key: value for key, value in config.items() if value is not None}
    files["config.json"].write_text(json.dumps(kept))
    refused(code, lambda: intake.teacher(files, network=None, input=None))


def test_an_input_that_contradicts_the_hub_folder_is_refused(
    intake: Any, hub: Callable[..., dict[str, Path]], refused: Callable[..., Any]
) -> None:
    colour = {"pretrained_cfg": {"input_size": [3, 24, 24], "mean": [0.4, 0.5, 0.6]}}
    fed = {"size": [24, 24], "channels": "gray"}
    files = hub(**colour)
    refused("input_invalid", lambda: intake.teacher(files, network=None, input=fed))


def test_a_folder_without_weights_or_config_is_refused(
    intake: Any, hub: Callable[..., dict[str, Path]], refused: Callable[..., Any]
) -> None:
    for missing in ("config.json", "model.safetensors"):
        files = hub()
        files.pop(missing)
        refused("files_missing", lambda files=files: intake.teacher(files, network=None))
    files = hub()
    files["config.json"].write_text("{")
    refused("config_invalid", lambda: intake.teacher(files, network=None))
