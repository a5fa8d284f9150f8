from __future__ import annotations

from typing import Any

import pytest
import torch

from stillhouse.errors import InputRejected
from stillhouse.spec import AnyInput, InputSpec, LayerPair, NetworkSpec, SequenceInput, TextInput
from tests.worker.conftest import CPU
from worker.engine import features, networks
from worker.engine.data import feed
from worker.engine.teacher import Teacher
from worker.engine.terms import Setting, Side, layers

IMAGE = InputSpec(size=(32, 32))
SERIES = SequenceInput(modality="sequence", length=16, channels=2)
TEXT = TextInput(modality="text", max_length=5)
SWIN = ("timm", "swin_tiny_patch4_window7_224", {"depths": [1, 1], "embed_dim": 24})
VIT = ("timm", "vit_tiny_patch16_224", {"patch_size": 8, "depth": 1})
BERT = {"vocab_size": 9, "hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2}


def _setting(fed: AnyInput, family: str, name: str, options: dict[str, Any]) -> Setting:
    """A network beside itself; its feed isn't called here."""
    spec = NetworkSpec.model_validate({"family": family, "name": name, "options": options})
    network = networks.build(spec, classes=4, fed=fed)
    teacher = Teacher("t", network, feed.make(IMAGE, device=CPU), fed, spec)
    side = Side(network, spec, fed)
    return Setting(side, teacher, torch.arange(4), classes=4, seed=0)


@pytest.mark.parametrize(
    ("fed", "network", "name", "last", "shape"),
    [
        (IMAGE, SWIN, "layers.1", True, (48, 4, 4)),
        (IMAGE, VIT, "blocks.0", True, (192, 17)),
        (IMAGE, ("builtin", "resnet8", {}), "layer2", False, (32, 16, 16)),
        (SERIES, ("builtin", "conv1d", {}), "layer1", False, (32, 16)),
    ],
)
def test_channels_come_first_whatever_a_networks_order_is(
    fed: AnyInput,
    network: tuple[str, str, dict[str, Any]],
    name: str,
    last: bool,  # noqa: FBT001 - a parameter of the test
    shape: tuple[int, ...],
) -> None:
    setting = _setting(fed, *network)
    chosen = (LayerPair(student=name, teacher=name),)
    ((layer, _),) = layers.pair(chosen, setting, default="last", field="f")
    assert layer.shape == shape
    side = setting.student
    found = features.measure(side.network, [name], side.example())
    expected = found[name].movedim(-1, 1) if last else found[name]
    assert torch.equal(layer.read(found), expected)


def test_half_precision_is_read_as_float32() -> None:
    layer = layers.Layer("x", (2,), last=False)
    assert layer.read({"x": torch.ones(1, 2, dtype=torch.bfloat16)}).dtype == torch.float32


def test_a_head_that_flattens_logits_is_no_embedding() -> None:
    ((layer, _),) = layers.pair("auto", _setting(IMAGE, *SWIN), default="embedding", field="f")
    assert (layer.name, layer.shape) == ("head.global_pool", (48,))


def test_stages_are_paired_from_the_last_one() -> None:
    setting = _setting(IMAGE, "builtin", "vgg8", {})
    small = _setting(IMAGE, "builtin", "resnet8", {}).student
    mixed = Setting(small, setting.teacher, setting.labels, classes=4, seed=0)
    found = layers.pair("auto", mixed, default="stages", field="f")
    assert [(s.name, t.name) for s, t in found] == [
        ("layer1", "block2"),
        ("layer2", "block3"),
        ("layer3", "block4"),
    ]


def test_of_texts_the_pooled_features_are_compared() -> None:
    setting = _setting(TEXT, "transformers", "bert", BERT)
    for default in ("last", "middle", "embedding"):
        ((layer, _),) = layers.pair("auto", setting, default=default, field="f")
        assert len(layer.shape) == 1


def test_a_layer_that_is_not_run_is_refused() -> None:
    setting = _setting(IMAGE, "timm", "deit_tiny_distilled_patch16_224", {"depth": 1})
    with pytest.raises(InputRejected, match="doesn't run it") as refused:
        layers.pair("auto", setting, default="embedding", field="objective.0.layer")
    assert refused.value.rejected_code == "layer_not_a_tensor"
