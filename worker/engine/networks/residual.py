"""The CIFAR residual networks of the CRD benchmark.

He et al. 2015, arXiv:1512.03385, section 4.2, with projection shortcuts (option B), as in
Tian et al. 2020, arXiv:1910.10699. Parameter names are those of the benchmark's public
checkpoints. Pooling adapts, so that any input size will do.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

NARROW = (16, 16, 32, 64)
WIDE = (32, 64, 128, 256)
SHAPES: dict[str, tuple[int, tuple[int, ...]]] = {
    **{f"resnet{depth}": (depth, NARROW) for depth in (8, 14, 20, 32, 44, 56, 110)},
    "resnet8x4": (8, WIDE),
    "resnet32x4": (32, WIDE),
}
"""Name -> depth, and the widths of the stem and the three stages."""


class Block(nn.Module):
    """Two 3x3 convolutions and a shortcut."""

    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Maps (batch, inputs, h, w) to (batch, outputs, h / stride, w / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(x)) + shortcut)


class ResidualNetwork(nn.Module):
    """A stem, three stages of blocks, average pooling and a linear head."""

    def __init__(
        self, *, blocks: int, widths: tuple[int, ...], classes: int, channels: int
    ) -> None:
        super().__init__()
        stem, *stages = widths
        self.conv1 = nn.Conv2d(channels, stem, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(stem)
        self.layer1 = _stage(stem, stages[0], blocks=blocks, stride=1)
        self.layer2 = _stage(stages[0], stages[1], blocks=blocks, stride=2)
        self.layer3 = _stage(stages[1], stages[2], blocks=blocks, stride=2)
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.fc = nn.Linear(stages[2], classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch, classes) from (batch, channels, h, w)."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(self.pool(x))  # type: ignore[no-any-return]  # nn.Module.__call__ is untyped


def _stage(inputs: int, outputs: int, *, blocks: int, stride: int) -> nn.Sequential:
    first = Block(inputs, outputs, stride=stride)
    return nn.Sequential(first, *(Block(outputs, outputs, stride=1) for _ in range(blocks - 1)))


def make(
    name: str, *, width: float, blocks: int | None, classes: int, channels: int
) -> ResidualNetwork:
    """A network by its published name, perhaps with other blocks or a share of its widths."""
    depth, widths = SHAPES[name]
    return ResidualNetwork(
        blocks=(depth - 2) // 6 if blocks is None else blocks,
        widths=tuple(max(round(base * width), 1) for base in widths),
        classes=classes,
        channels=channels,
    )
