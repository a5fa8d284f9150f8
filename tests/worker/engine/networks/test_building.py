from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from stillhouse.errors import InputRejected
from stillhouse.spec import InputSpec, NetworkSpec
from worker.engine import networks
from worker.engine.networks.residual import SHAPES


def _build(family: str, name: str, size: tuple[int, int] = (32, 32), **options: Any) -> nn.Module:
    spec = NetworkSpec.model_validate({"family": family, "name": name, "options": options})
    return networks.build(
        spec, classes=10, fed=InputSpec(size=size, channels="gray"), field="students.0.network"
    )


def _refusal(family: str, name: str, **options: Any) -> InputRejected:
    with pytest.raises(InputRejected) as refused:
        _build(family, name, **options)
    return refused.value


@pytest.mark.parametrize(
    ("family", "name", "size"),
    [
        *(("builtin", name, (32, 32)) for name in SHAPES if name != "resnet110"),
        ("builtin", "resnet8", (9, 7)),
        ("builtin", "mlp", (9, 7)),
        ("timm", "resnet10t", (32, 32)),
        ("timm", "vit_tiny_patch16_224", (32, 48)),
        ("timm", "convnext_atto", (32, 32)),
    ],
)
def test_a_network_has_the_channels_size_and_classes_asked_for(
    family: str, name: str, size: tuple[int, int]
) -> None:
    network = _build(family, name, size)
    assert network.training
    with torch.no_grad():
        assert network.eval()(torch.zeros(3, 1, *size)).shape == (3, 10)


def test_equal_seeds_give_equal_weights() -> None:
    def weights(seed: int) -> torch.Tensor:
        torch.manual_seed(seed)
        return torch.cat([p.detach().flatten() for p in _build("timm", "resnet10t").parameters()])

    assert torch.equal(weights(1), weights(1))
    assert not torch.equal(weights(1), weights(2))


def test_the_residual_networks_bear_the_names_of_the_public_checkpoints() -> None:
    names = set(_build("builtin", "resnet8x4").state_dict())
    assert {
        "conv1.weight", "bn1.running_mean", "layer1.0.conv1.weight", "layer1.0.bn2.bias",
        "layer1.0.downsample.0.weight", "layer3.0.downsample.1.weight", "fc.bias",
    } <= names  # fmt: skip
    # At equal widths the shortcut is the identity.
    assert "layer1.0.downsample.0.weight" not in _build("builtin", "resnet8").state_dict()


@pytest.mark.parametrize(
    ("name", "millions"), [("resnet20", 0.28), ("resnet110", 1.74), ("resnet32x4", 7.43)]
)
def test_the_residual_networks_have_the_parameters_of_the_benchmark(
    name: str, millions: float
) -> None:
    spec = NetworkSpec(family="builtin", name=name)
    network = networks.build(spec, classes=100, fed=InputSpec(size=(32, 32)))
    assert networks.measure(network, InputSpec(size=(32, 32)))[0] == pytest.approx(
        millions * 1e6, rel=0.01
    )


def test_an_mlp_has_the_layers_it_is_given() -> None:
    network = _build("builtin", "mlp", size=(2, 2), hidden=[3, 5])
    assert networks.measure(network, InputSpec(size=(2, 2), channels="gray")) == (
        4 * 3 + 3 + 3 * 5 + 5 + 5 * 10 + 10,
        4 * 3 + 3 * 5 + 5 * 10,
    )
    linear = _build("builtin", "mlp", size=(2, 2), hidden=[])
    assert networks.measure(linear, InputSpec(size=(2, 2), channels="gray")) == (50, 40)


def test_measuring_keeps_the_mode() -> None:
    network = _build("builtin", "resnet8").train()
    networks.measure(network, InputSpec(size=(8, 8), channels="gray"))
    assert network.training


def test_options_may_repeat_what_the_data_say_and_no_more() -> None:
    _build("builtin", "resnet8", num_classes=10, in_chans=1)
    assert _refusal("timm", "resnet10t", num_classes=11).rejected_code == "class_count_differs"
    refused = _refusal("builtin", "resnet8", in_chans=3)
    assert refused.rejected_code == "channels_differ"
    assert refused.field == "students.0.network.options.in_chans"


@pytest.mark.parametrize(
    "option",
    ["pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir",
     "features_only", "scriptable", "exportable"],
)  # fmt: skip
def test_options_that_fetch_or_replace_are_refused_whatever_their_value(option: str) -> None:
    assert _refusal("timm", "resnet10t", **{option: None}).rejected_code == "network_option_refused"


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mlp", {"hidden": [0]}), ("mlp", {"hidden": "wide"}), ("mlp", {"dropout": 1.0}),
        ("mlp", {"hiden": [3]}), ("resnet8", {"depth": 3}),
    ],
)  # fmt: skip
def test_builtin_options_are_checked(name: str, options: dict[str, Any]) -> None:
    assert _refusal("builtin", name, **options).rejected_code == "network_option_refused"


def test_an_unknown_name_is_answered_with_those_near_it() -> None:
    refused = _refusal("timm", "resnet18x")
    assert refused.rejected_code == "unknown_network"
    assert "resnet18" in refused.extra["allowed"]
    assert "resnet32x4" in _refusal("builtin", "resnet32x3").extra["allowed"]


def test_what_the_constructor_or_the_input_forbids_is_said_in_its_own_words() -> None:
    refused = _refusal("timm", "resnet10t", depth=3)
    assert refused.rejected_code == "network_not_buildable"
    assert "depth" in refused.detail
    with pytest.raises(InputRejected, match="vit_tiny"):
        _build("timm", "vit_tiny_patch16_224", (33, 33), strict_img_size=True, img_size=32)


def test_an_enormous_network_is_refused_before_it_takes_memory() -> None:
    refused = _refusal("builtin", "mlp", hidden=[65_536, 65_536])
    assert refused.rejected_code == "network_not_buildable"
    assert "parameters" in refused.detail


def test_every_family_lists_its_names() -> None:
    names = networks.names()
    assert ("builtin", "resnet8x4") in names
    assert ("builtin", "mlp") in names
    assert ("timm", "resnet18") in names
