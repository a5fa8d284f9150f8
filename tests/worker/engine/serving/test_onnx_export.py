from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from torch import nn

from stillhouse.spec import AnyInput, InputSpec, NetworkSpec
from worker.engine import networks
from worker.engine.data import feed
from worker.engine.serving import onnx_export
from worker.engine.serving.onnx_export import OnnxNetwork

GRAY = InputSpec(size=(8, 8), channels="gray")


def _network(name: str, *, family: Any = "builtin", fed: AnyInput = GRAY) -> nn.Module:
    torch.manual_seed(0)
    return networks.build(NetworkSpec(family=family, name=name), classes=10, fed=fed)


@pytest.mark.parametrize(
    ("family", "name", "fed"),
    [("builtin", "resnet8", GRAY), ("timm", "resnet10t", InputSpec(size=(32, 32)))],
)
def test_an_export_gives_the_logits_of_the_network_for_any_batch(
    tmp_path: Path, family: str, name: str, fed: InputSpec
) -> None:
    network = _network(name, family=family, fed=fed)
    exported = OnnxNetwork(onnx_export.write(tmp_path, network, fed=fed), threads=1)
    network.eval()
    for count in (1, 5):
        x = torch.randn(feed.example(fed, count).shape)
        with torch.no_grad():
            assert torch.allclose(exported(x), network(x), atol=1e-5)


def test_equal_networks_give_equal_bytes_that_name_no_path(tmp_path: Path) -> None:
    written = []
    for place in ("a", "b"):
        (tmp_path / place).mkdir()
        path = onnx_export.write(tmp_path / place, _network("resnet8"), fed=GRAY)
        written.append(path.read_bytes())
    assert written[0] == written[1]
    assert b".py" not in written[0]
    assert onnx.load_from_string(written[0]).opset_import[0].version >= 18


def test_exporting_leaves_the_network_as_it_was(tmp_path: Path) -> None:
    network = _network("resnet8").train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    onnx_export.write(tmp_path, network, fed=GRAY)
    assert network.training
    assert all(torch.equal(before[name], t) for name, t in network.state_dict().items())
