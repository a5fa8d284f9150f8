from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from stillhouse.errors import InputRejected
from stillhouse.spec import AnyInput, InputSpec, NetworkSpec, SequenceInput, TableInput, TextInput
from worker.engine import features, networks
from worker.engine.data import feed
from worker.engine.networks import layers

IMAGE = InputSpec(size=(32, 32))
SERIES = SequenceInput(modality="sequence", length=40, channels=2)
TEXT = TextInput(modality="text", max_length=16)
TABLE = TableInput.model_validate({
    "modality": "tabular",
    "columns": [
        {"name": "age", "kind": "number", "mean": 40.0, "std": 10.0},
        {"name": "town", "kind": "category", "values": ["here", "there"]},
    ],
})  # fmt: skip
TINY = {
    "vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2,
    "intermediate_size": 32, "max_position_embeddings": 32, "embedding_size": 16,
}  # fmt: skip
TINY_DISTIL = {
    "vocab_size": 50, "dim": 16, "n_layers": 2, "n_heads": 2, "hidden_dim": 32,
    "max_position_embeddings": 32,
}  # fmt: skip


def _build(family: Any, name: str, fed: AnyInput, **options: Any) -> nn.Module:
    torch.manual_seed(0)
    spec = NetworkSpec(family=family, name=name, options=options)
    return networks.build(spec, classes=10, fed=fed)


def test_wide_networks_have_the_names_of_the_public_checkpoints() -> None:
    kinds = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    expected = {"conv1.weight", "fc.weight", "fc.bias", *(f"bn1.{kind}" for kind in kinds)}
    for block, layer in product((1, 2, 3), (0, 1)):
        prefix = f"block{block}.layer.{layer}"
        expected |= {f"{prefix}.conv1.weight", f"{prefix}.conv2.weight"}
        expected |= {f"{prefix}.{norm}.{kind}" for norm in ("bn1", "bn2") for kind in kinds}
        if layer == 0:
            expected.add(f"{prefix}.convShortcut.weight")
    assert set(_build("builtin", "wrn_16_2", IMAGE).state_dict()) == expected


def test_vgg_networks_have_the_names_of_the_public_checkpoints() -> None:
    names = set(_build("builtin", "vgg8", IMAGE).state_dict())
    kinds = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    expected = {"classifier.weight", "classifier.bias"}
    for block in range(5):
        expected |= {f"block{block}.0.weight", f"block{block}.0.bias"}
        expected |= {f"block{block}.1.{kind}" for kind in kinds}
    assert names == expected
    thirteen = set(_build("builtin", "vgg13", IMAGE).state_dict())
    assert {"block4.0.weight", "block4.3.weight", "block4.4.running_mean"} <= thirteen


@pytest.mark.parametrize(
    ("name", "millions"),
    # As the benchmark's authors print them for 100 classes.
    [("wrn_40_2", 2.26), ("wrn_16_2", 0.70), ("wrn_40_1", 0.57), ("vgg13", 9.46), ("vgg8", 3.97)],
)
def test_networks_have_the_published_number_of_parameters(name: str, millions: float) -> None:
    spec = NetworkSpec(family="builtin", name=name)
    network = networks.build(spec, classes=100, fed=IMAGE)
    assert networks.measure(network, IMAGE)[0] == pytest.approx(millions * 1e6, rel=0.01)


@pytest.mark.parametrize(
    ("family", "name", "fed", "options"),
    [
        ("builtin", "wrn_16_1", IMAGE, {"width": 0.5, "blocks": 1}),
        ("builtin", "vgg8", IMAGE, {"width": 0.25}),
        ("builtin", "resnet8", IMAGE, {"width": 0.5, "blocks": 2}),
        ("builtin", "conv1d", SERIES, {"width": 8}),
        ("builtin", "mlp", SERIES, {"hidden": [8]}),
        ("builtin", "mlp", TABLE, {"hidden": [8]}),
        ("builtin", "tabular_transformer", TABLE, {"dim": 16, "depth": 1}),
        ("timm", "resnet10t", IMAGE, {}),
        ("timm", "mobilenetv3_small_050", IMAGE, {}),
        ("timm", "convnext_atto", IMAGE, {}),
        ("timm", "vit_tiny_patch16_224", IMAGE, {"patch_size": 8}),
        ("transformers", "bert", TEXT, TINY),
        ("transformers", "distilbert", TEXT, TINY_DISTIL),
        ("transformers", "electra", TEXT, TINY),
        ("transformers", "roberta", TEXT, TINY | {"pad_token_id": 1}),
    ],
)
def test_default_layers_put_out_what_they_are_said_to(
    family: str, name: str, fed: AnyInput, options: dict[str, Any]
) -> None:
    network = _build(family, name, fed, **options).eval()
    found = layers.defaults(network, NetworkSpec(family=family, name=name, options=options))
    assert found.embedding is not None
    wanted = (*found.stages, found.embedding)
    assert set(wanted) <= set(layers.names(network))
    with torch.no_grad(), features.capture(network, wanted) as seen:
        logits = network(feed.example(fed, 3))
    assert logits.shape == (3, 10)
    first = seen[found.embedding]
    assert isinstance(first, Tensor)
    assert (first.ndim, len(first)) == (2, 3)
    for stage in found.stages:
        output: Any = seen[stage]
        assert (output[0] if isinstance(output, tuple) else output).ndim >= 3


def test_a_missing_number_and_an_unseen_category_have_a_meaning_of_their_own() -> None:
    network = _build("builtin", "mlp", TABLE, hidden=[8]).eval()
    nan = float("nan")
    rows = torch.tensor([[40.0, 0.0], [nan, 0.0], [40.0, -1.0], [50.0, 0.0]])
    with torch.no_grad():
        logits = network(rows)
    assert torch.isfinite(logits).all()
    for other in logits[1:]:
        assert not torch.allclose(logits[0], other)


def test_a_number_far_out_is_held_within_ten_deviations() -> None:
    network = _build("builtin", "mlp", TABLE, hidden=[8]).eval()
    with torch.no_grad():
        far, farther = network(torch.tensor([[1e9, 0.0], [1e12, 0.0]]))
    assert torch.equal(far, farther)


def test_a_text_is_read_no_further_than_its_end() -> None:
    network = _build("transformers", "bert", TEXT, **TINY, initializer_range=1.0).eval()
    alone = torch.tensor([[2, 7, 3]])
    padded = torch.tensor([[2, 7, 3, -1, -1]])
    with torch.no_grad():
        assert torch.allclose(network(alone), network(padded), atol=1e-4)
        assert not torch.allclose(network(alone), network(alone[:, :2]), atol=0.1)


def test_the_parameters_of_a_text_network_have_transformers_own_names() -> None:
    network = _build("transformers", "bert", TEXT, **TINY)
    assert "bert.encoder.layer.1.attention.self.query.weight" in network.state_dict()
    assert {"classifier.weight", "classifier.bias"} <= set(network.state_dict())


@pytest.mark.parametrize(
    ("family", "name", "fed", "options", "code"),
    [
        ("builtin", "resnet8", TEXT, {}, "modality_differs"),
        ("timm", "resnet10t", TABLE, {}, "modality_differs"),
        ("transformers", "bert", IMAGE, TINY, "modality_differs"),
        ("transformers", "bart", TEXT, {}, "unknown_network"),
        ("transformers", "bert", TEXT, TINY | {"auto_map": {}}, "network_option_refused"),
        ("transformers", "bert", TEXT, TINY | {"max_position_embeddings": 8}, "text_too_long"),
        ("transformers", "bert", TEXT, TINY | {"num_attention_heads": 3}, "network_not_buildable"),
        ("builtin", "conv1d", SERIES, {"kernel": 4}, "network_option_refused"),
        ("builtin", "tabular_transformer", TABLE, {"heads": 5}, "network_option_refused"),
        ("builtin", "vgg8", InputSpec(size=(4, 4)), {}, "network_not_buildable"),
    ],
)
def test_a_network_that_does_not_suit_is_refused(
    family: str, name: str, fed: AnyInput, options: dict[str, Any], code: str
) -> None:
    with pytest.raises(InputRejected) as refused:
        _build(family, name, fed, **options)
    assert refused.value.rejected_code == code
    assert refused.value.field is not None
