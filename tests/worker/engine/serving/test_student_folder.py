from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors
import timm
import torch
from timm.data.config import resolve_data_config
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from torch import Tensor, nn
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from stillhouse.spec import (
    AnyInput,
    InputSpec,
    NetworkSpec,
    SequenceInput,
    TableInput,
    TextInput,
)
from worker.engine import networks
from worker.engine.data import feed
from worker.engine.data.tokens import encoder
from worker.engine.serving import served, student_folder

TABLE = TableInput.model_validate({
    "modality": "tabular",
    "columns": [
        {"name": "age", "kind": "number", "mean": 40.0, "std": 10.0},
        {"name": "town", "kind": "category", "values": ["here", "there"]},
    ],
})  # fmt: skip
CLASSES = [f"class {number}" for number in range(6)]


def _build(spec: NetworkSpec, fed: InputSpec) -> nn.Module:
    torch.manual_seed(0)
    network = networks.build(spec, classes=len(CLASSES), fed=fed)
    # Statistics of normalisation layers that differ from their initial values.
    with torch.no_grad():
        network.train()(_images(fed, batch=4))
    return network.eval()


def _images(fed: InputSpec, *, batch: int) -> Tensor:
    return torch.randn(batch, fed.channel_count, *fed.size)


def _write(folder: Path, network: nn.Module, spec: NetworkSpec, fed: InputSpec) -> dict[str, Any]:
    student_folder.write(folder, network, spec=spec, input=fed, classes=CLASSES)
    config = json.loads((folder / "config.json").read_text())
    assert isinstance(config, dict)
    return config


def _input(height: int, width: int, channels: str) -> InputSpec:
    return InputSpec.model_validate(
        {"size": (height, width), "channels": channels, "mean": [0.5], "std": [0.25]}
    )


TIMM = [
    ("resnet10t", {}, _input(32, 32, "gray")),
    ("resnet18", {"num_classes": 6, "in_chans": 1, "drop_rate": 0.1}, _input(28, 45, "gray")),
    ("vit_tiny_patch16_224", {"depth": 2}, _input(32, 32, "rgb")),
    ("vit_tiny_patch16_224", {"depth": 1, "patch_size": 8}, _input(16, 40, "gray")),
    ("mobilenetv3_small_050", {"global_pool": "avg"}, _input(33, 33, "rgb")),
    ("convnext_atto", {"depths": [1, 1, 1, 1]}, _input(32, 32, "gray")),
]


@pytest.mark.parametrize(("name", "options", "fed"), TIMM)
def test_timm_loads_the_folder_with_equal_logits(
    tmp_path: Path, name: str, options: dict[str, Any], fed: InputSpec
) -> None:
    spec = NetworkSpec(family="timm", name=name, options=options)
    network = _build(spec, fed)
    _write(tmp_path, network, spec, fed)
    loaded = timm.create_model(f"local-dir:{tmp_path}", pretrained=True).eval()
    images = _images(fed, batch=3)
    with torch.inference_mode():
        assert torch.equal(loaded(images), network(images))


def test_the_config_says_how_images_were_prepared(tmp_path: Path) -> None:
    spec = NetworkSpec(family="timm", name="resnet10t", options={"num_classes": 6})
    fed = _input(32, 48, "rgb")
    config = _write(tmp_path, _build(spec, fed), spec, fed)
    assert config["architecture"] == "resnet10t"
    assert config["num_classes"] == 6
    assert config["label_names"] == CLASSES
    assert config["num_features"] == 512
    pretrained = config["pretrained_cfg"]
    assert pretrained["input_size"] == [3, 32, 48]
    assert pretrained["mean"] == [0.5, 0.5, 0.5]
    assert pretrained["std"] == [0.25, 0.25, 0.25]
    assert pretrained["crop_pct"] == 1.0
    assert pretrained["classifier"] == "fc"
    loaded = timm.create_model(f"local-dir:{tmp_path}", pretrained=True)
    found = resolve_data_config(model=loaded)  # type: ignore[no-untyped-call]  # timm's own
    assert (list(found["input_size"]), found["crop_pct"]) == ([3, 32, 48], 1.0)


def test_model_args_leave_the_classes_out(tmp_path: Path) -> None:
    # transformers' loader passes num_classes itself and fails on a second one.
    spec = NetworkSpec(family="timm", name="resnet10t", options={"num_classes": 6})
    config = _write(tmp_path, _build(spec, _input(32, 32, "gray")), spec, _input(32, 32, "gray"))
    assert config["model_args"] == {"in_chans": 1}


@pytest.mark.parametrize("name", ["resnet8", "mlp"])
def test_a_builtin_student_runs_without_our_code_on_any_batch(tmp_path: Path, name: str) -> None:
    spec, fed = NetworkSpec(family="builtin", name=name), _input(8, 12, "gray")
    network = _build(spec, fed)
    config = _write(tmp_path, network, spec, fed)
    program = torch.export.load(tmp_path / "model.pt2").module()  # noqa: TID251 - made right here
    with torch.inference_mode():
        for batch in (1, 2, 7):
            images = _images(fed, batch=batch)
            assert torch.equal(program(images), network(images))
    assert config["architecture"] == name
    assert config["stillhouse"]["input"]["size"] == [8, 12]
    assert config["stillhouse"]["classes"] == CLASSES


def test_a_network_that_trains_goes_on_training(tmp_path: Path) -> None:
    spec, fed = NetworkSpec(family="builtin", name="resnet8"), _input(8, 8, "gray")
    network = _build(spec, fed).train()
    _write(tmp_path, network, spec, fed)
    assert all(module.training for module in network.modules())


@pytest.mark.parametrize("spec", [("timm", "resnet10t"), ("builtin", "resnet8")])
def test_equal_weights_give_equal_bytes(tmp_path: Path, spec: tuple[Any, str]) -> None:
    network_spec, fed = NetworkSpec(family=spec[0], name=spec[1]), _input(32, 32, "gray")
    contents = []
    for folder in (tmp_path / "a", tmp_path / "b"):
        network = _build(network_spec, fed)
        student_folder.write(folder, network, spec=network_spec, input=fed, classes=CLASSES)
        contents.append({file.name: file.read_bytes() for file in folder.iterdir()})
    assert contents[0] == contents[1]


def test_the_weights_carry_no_metadata_but_their_format(tmp_path: Path) -> None:
    spec, fed = NetworkSpec(family="builtin", name="mlp"), _input(8, 8, "gray")
    network = _build(spec, fed)
    _write(tmp_path, network, spec, fed)
    with safetensors.safe_open(tmp_path / "model.safetensors", framework="pt") as stored:
        assert stored.metadata() == {"format": "pt"}
        assert set(stored.keys()) == set(network.state_dict())


def test_a_network_in_another_memory_format_gives_the_same_bytes(tmp_path: Path) -> None:
    spec, fed = NetworkSpec(family="builtin", name="resnet8"), _input(8, 8, "rgb")
    network = _build(spec, fed)
    _write(tmp_path / "a", network, spec, fed)
    network.to(memory_format=torch.channels_last)
    _write(tmp_path / "b", network, spec, fed)
    for name in ("model.safetensors", "model.pt2"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


class Tied(nn.Module):
    """A network of which two layers share one matrix."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(9, 9, bias=False)
        self.second = nn.Linear(9, 6, bias=False)
        self.third = nn.Linear(9, 6, bias=False)
        self.third.weight = self.second.weight

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch, 6) from (batch, 1, 3, 3)."""
        hidden = self.first(x.flatten(1))
        result: Tensor = self.second(hidden) + self.third(hidden)
        return result


def test_shared_tensors_are_stored_under_every_name(tmp_path: Path) -> None:
    spec, fed = NetworkSpec(family="builtin", name="mlp"), _input(3, 3, "gray")
    network = Tied().eval()
    student_folder.write(tmp_path, network, spec=spec, input=fed, classes=CLASSES)
    fresh = Tied().eval()
    fresh.load_state_dict(safetensors.torch.load_file(tmp_path / "model.safetensors"), strict=True)
    images = _images(fed, batch=2)
    assert torch.equal(fresh(images), network(images))


def _tokenizer(folder: Path) -> dict[str, str]:
    """A tokenizer's files by SHA-256; the names stand for the hashes."""
    tokenizer = Tokenizer(
        WordLevel({"[UNK]": 0, "[PAD]": 1, "good": 2, "bad": 3, "so": 4}, "[UNK]")
    )
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    described = {"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": "[PAD]"}
    (folder / "tokenizer_config.json").write_text(json.dumps(described))
    return {
        sha: str(folder / name)
        for sha, name in (("a" * 64, "tokenizer.json"), ("b" * 64, "tokenizer_config.json"))
    }


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("bert", {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1}),
        ("distilbert", {"dim": 16, "n_heads": 2, "n_layers": 1}),
    ],
)
def test_transformers_loads_network_and_tokenizer_with_equal_logits(
    tmp_path: Path, name: str, options: dict[str, Any]
) -> None:
    listed = {"tokenizer.json": "a" * 64, "tokenizer_config.json": "b" * 64}
    fed = TextInput(modality="text", max_length=8, tokenizer=listed)
    (tmp_path / "given").mkdir()
    files = _tokenizer(tmp_path / "given")
    spec = NetworkSpec(
        family="transformers", name=name,
        options=options | {"vocab_size": 5, "max_position_embeddings": 8},
    )  # fmt: skip
    torch.manual_seed(0)
    network = networks.build(spec, classes=len(CLASSES), fed=fed).eval()
    folder = tmp_path / "student"
    student_folder.write(folder, network, spec=spec, input=fed, classes=CLASSES, files=files)
    loaded = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts = ["so good", "bad bad so good so bad so good so good", "so"]
    tokens = tokenizer(texts, padding=True, truncation=True, max_length=8, return_tensors="pt")
    ours = torch.from_numpy(encoder(fed, files=files)(texts)).long()
    with torch.inference_mode():
        assert torch.allclose(loaded(**tokens).logits, network(ours), atol=1e-6)
    assert loaded.config.id2label == dict(enumerate(CLASSES))
    assert [type(loaded).__name__] == json.loads((folder / "config.json").read_text())[
        "architectures"
    ]


@pytest.mark.parametrize(
    ("name", "fed"),
    [
        ("mlp", TABLE),
        ("tabular_transformer", TABLE),
        ("conv1d", SequenceInput(modality="sequence", length=20, channels=2)),
        ("wrn_16_1", InputSpec(size=(16, 16))),
        ("vgg8", InputSpec(size=(8, 8), channels="gray")),
    ],
)
def test_a_builtin_student_is_a_program_that_takes_any_batch(
    tmp_path: Path, name: str, fed: AnyInput
) -> None:
    spec = NetworkSpec(family="builtin", name=name)
    torch.manual_seed(0)
    network = networks.build(spec, classes=len(CLASSES), fed=fed).eval()
    student_folder.write(tmp_path, network, spec=spec, input=fed, classes=CLASSES)
    program = torch.export.load(tmp_path / "model.pt2").module()  # noqa: TID251 - written just here
    for count in (1, 5):
        x = torch.rand(feed.example(fed, count).shape)
        if isinstance(fed, TableInput):
            x[0, 0], x[0, 1] = float("nan"), -1
            x[1:, 1] = 1
        with torch.inference_mode():
            assert torch.allclose(program(x), network(x), atol=1e-5)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["stillhouse"]["input"] == fed.model_dump(mode="json")
    loaded = served.load(
        {name: str(tmp_path / name) for name in ("model.safetensors", "config.json")},
        spec=spec, fed=fed, classes=len(CLASSES), folder=tmp_path / "linked",
    )  # fmt: skip
    with torch.inference_mode():
        assert torch.equal(loaded(x), network(x))
