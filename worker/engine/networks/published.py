"""What networks cost as they are published: parameters, and MACs for one item.

timm's at their own input and classes, our own for images on CIFAR-100. Building all of them
takes ten minutes of a core, so the figures lie beside this file.

    python -m worker.engine.networks.published      measures anew, after timm was updated
"""

from __future__ import annotations

import csv
import sys
import warnings
from functools import cache
from pathlib import Path

import timm
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from stillhouse.spec import InputSpec, NetworkSpec
from worker.engine.networks import building, costs
from worker.engine.networks.builtin import IMAGES

FILE = Path(__file__).with_name("published.csv")
_CIFAR = InputSpec(size=(32, 32))
Figures = dict[tuple[str, str], tuple[int, int]]


@cache
def read() -> Figures:
    """Parameters and MACs by family and name; what is missing wasn't measured."""
    with FILE.open(newline="") as lines:
        return {(row[0], row[1]): (int(row[2]), int(row[3])) for row in csv.reader(lines)}


def main() -> None:
    """Measure every network on the meta device, where nothing is allocated or computed."""
    warnings.simplefilter("ignore")
    with FILE.open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        for name in IMAGES:
            network = building.build(
                NetworkSpec(family="builtin", name=name), classes=100, fed=_CIFAR
            )
            writer.writerow(("builtin", name, *costs.measure(network, _CIFAR)))
        for name in timm.list_models():
            try:
                writer.writerow(("timm", name, *_measure(name)))
            except Exception as error:  # noqa: BLE001  some need packages that aren't here
                sys.stderr.write(f"{name}: {error}\n")


def _measure(name: str) -> tuple[int, int]:
    card = timm.get_pretrained_cfg(name)
    if card is None:
        message = "timm says nothing of its input"
        raise LookupError(message)
    # With gradients: the counter looks for their functions in some attention networks.
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        network: nn.Module = timm.create_model(name).eval()
        network(torch.zeros((1, *card.input_size)))
    parameters = sum(tensor.numel() for tensor in network.parameters())
    return parameters, counter.get_total_flops() // 2


if __name__ == "__main__":
    main()
