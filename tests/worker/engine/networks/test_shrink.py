from __future__ import annotations

from typing import Any

import pytest

from stillhouse.errors import InputRejected
from stillhouse.spec import AnyInput, InputSpec, NetworkSpec, SequenceInput, Shrink, TextInput
from worker.engine import networks
from worker.engine.networks import shrink

IMAGE = InputSpec(size=(32, 32))
SERIES = SequenceInput(modality="sequence", length=40)
TEXT = TextInput(modality="text", max_length=16)
BERT = {
    "vocab_size": 50, "hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4,
    "intermediate_size": 128, "max_position_embeddings": 32,
}  # fmt: skip
CASES: list[tuple[str, str, AnyInput, dict[str, Any]]] = [
    ("builtin", "resnet20", IMAGE, {}),
    ("builtin", "wrn_16_2", IMAGE, {}),
    ("builtin", "mlp", IMAGE, {"hidden": [64, 64]}),
    ("builtin", "conv1d", SERIES, {}),
    ("timm", "resnet18", IMAGE, {"num_classes": 7, "in_chans": 1}),
    ("timm", "vit_tiny_patch16_224", IMAGE, {"patch_size": 8}),
    ("transformers", "bert", TEXT, BERT),
]


HEADS = ("vit_tiny_patch16_224", "bert")


def _resolve(
    family: Any, name: str, fed: AnyInput, options: dict[str, Any], **how: float
) -> NetworkSpec:
    spec = NetworkSpec(family=family, name=name, options=options)
    return shrink.resolve(Shrink(**how), spec, fed=fed, classes=10, field="students.0.shrink")


def _parameters(spec: NetworkSpec, fed: AnyInput) -> int:
    options = {k: v for k, v in spec.options.items() if k not in ("num_classes", "in_chans")}
    plain = spec.model_copy(update={"options": options})
    return networks.measure(networks.build(plain, classes=10, fed=fed), fed)[0]


@pytest.mark.parametrize("how", [{"width": 0.5}, {"depth": 0.5}])
@pytest.mark.parametrize(("family", "name", "fed", "options"), CASES)
def test_a_share_of_width_or_depth_is_a_smaller_network_that_can_be_built(
    family: str, name: str, fed: AnyInput, options: dict[str, Any], how: dict[str, float]
) -> None:
    found = _resolve(family, name, fed, options, **how)
    assert (found.family, found.name) == (family, name)
    whole = _parameters(NetworkSpec(family=family, name=name, options=options), fed)
    assert _parameters(found, fed) < whole


@pytest.mark.parametrize(("family", "name", "fed", "options"), CASES)
def test_a_share_of_the_parameters_is_reached_as_nearly_as_widths_allow(
    family: str, name: str, fed: AnyInput, options: dict[str, Any]
) -> None:
    whole = _parameters(NetworkSpec(family=family, name=name, options=options), fed)
    reached = _parameters(_resolve(family, name, fed, options, parameters=0.4), fed) / whole
    # A transformer has three or four heads here, and loses whole ones.
    assert reached == pytest.approx(0.4, abs=0.15 if name in HEADS else 0.04)


def test_widths_are_what_the_share_says() -> None:
    half = _resolve("timm", "resnet18", IMAGE, {}, width=0.5)
    assert half.options["channels"] == [32, 64, 128, 256]
    assert _resolve("timm", "resnet50", IMAGE, {}, depth=0.5).options["layers"] == [2, 2, 3, 2]
    assert _resolve("builtin", "resnet20", IMAGE, {}, depth=0.34).options["blocks"] == 1
    bert = _resolve("transformers", "bert", TEXT, BERT, width=0.5).options
    assert bert["num_attention_heads"] == 2
    assert (bert["hidden_size"], bert["intermediate_size"]) == (32, 64)


@pytest.mark.parametrize(
    ("asked", "how", "code"),
    [
        (("timm", "convnext_atto", IMAGE, {}), {"width": 0.5}, "shrink_not_supported"),
        (("builtin", "vgg8", IMAGE, {}), {"depth": 0.5}, "shrink_not_supported"),
        (("builtin", "resnet8", IMAGE, {}), {"width": 0.001}, "shrink_to_nothing"),
        (("builtin", "mlp", IMAGE, {"hidden": [8]}), {"parameters": 0.0001}, "shrink_to_nothing"),
        (("transformers", "bert", TEXT, BERT), {"width": 0.05}, "shrink_to_nothing"),
        (("builtin", "mlp", IMAGE, {"hidden": []}), {"depth": 0.5}, "shrink_to_nothing"),
    ],
)
def test_what_can_not_be_shrunk_is_refused(
    asked: tuple[Any, str, AnyInput, dict[str, Any]], how: dict[str, Any], code: str
) -> None:
    with pytest.raises(InputRejected) as refused:
        _resolve(*asked, **how)
    assert refused.value.rejected_code == code
    assert refused.value.field == "students.0.shrink"
