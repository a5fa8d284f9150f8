"""The wide residual networks of the CRD benchmark.

Zagoruyko & Komodakis 2016, arXiv:1605.07146, with the parameter names of the public checkpoints of
Tian et al. 2020, arXiv:1910.10699. Pooling adapts, so that any input size will do.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

SHAPES: dict[str, tuple[int, int]] = {
    f"wrn_{depth}_{width}": (depth, width) for depth, width in ((16, 1), (16, 2), (40, 1), (40, 2))
}
"""Name -> depth, and how many times wider than 16, 32, 64."""
_WIDTHS = (16, 32, 64)


class Block(nn.Module):
    """Normalisation and activation before each of two 3x3 convolutions, and a shortcut."""

    def __init__(self, inputs: int, outputs: int, *, stride: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1, bias=False)
        self.convShortcut: nn.Module | None = None
        if inputs != outputs:
            self.convShortcut = nn.Conv2d(inputs, outputs, 1, stride=stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (batch, inputs, h, w) to (batch, outputs, h / stride, w / stride)."""
        active = F.relu(self.bn1(x))
        shortcut = x if self.convShortcut is None else self.convShortcut(active)
        inner = self.conv2(F.relu(self.bn2(self.conv1(active))))
        return inner + shortcut  # type: ignore[no-any-return]  # nn.Module.__call__ is untyped


class Stage(nn.Module):
    """Blocks of one width; the first one may halve the size."""

    def __init__(self, inputs: int, outputs: int, *, blocks: int, stride: int) -> None:
        super().__init__()
        rest = (Block(outputs, outputs, stride=1) for _ in range(blocks - 1))
        self.layer = nn.Sequential(Block(inputs, outputs, stride=stride), *rest)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (batch, inputs, h, w) to (batch, outputs, h / stride, w / stride)."""
        return self.layer(x)  # type: ignore[no-any-return]  # as above


class WideNetwork(nn.Module):
    """A stem, three stages of blocks, average pooling and a linear head."""

    def __init__(
        self, *, blocks: int, widths: tuple[int, int, int], stem: int, classes: int, channels: int
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, stem, 3, padding=1, bias=False)
        self.block1 = Stage(stem, widths[0], blocks=blocks, stride=1)
        self.block2 = Stage(widths[0], widths[1], blocks=blocks, stride=2)
        self.block3 = Stage(widths[1], widths[2], blocks=blocks, stride=2)
        self.bn1 = nn.BatchNorm2d(widths[2])
        self.pool = nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.fc = nn.Linear(widths[2], classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch, classes) from (batch, channels, h, w)."""
        x = self.block3(self.block2(self.block1(self.conv1(x))))
        return self.fc(self.pool(self.bn1(x)))  # type: ignore[no-any-return]  # as above


def make(
    name: str, *, width: float, blocks: int | None, classes: int, channels: int
) -> WideNetwork:
    """A network by its published name, perhaps with other blocks or a share of its widths."""
    depth, factor = SHAPES[name]
    first, second, third = (max(round(base * factor * width), 1) for base in _WIDTHS)
    return WideNetwork(
        blocks=(depth - 4) // 6 if blocks is None else blocks,
        widths=(first, second, third),
        stem=max(round(_WIDTHS[0] * width), 1),
        classes=classes,
        channels=channels,
    )
