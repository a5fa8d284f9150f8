"""A residual network of one-dimensional convolutions, for series.

After the ResNet of Wang, Yan & Oates 2017, arXiv:1611.06455, with stages that halve the length.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

STAGES = 3


class Block(nn.Module):
    """Two convolutions and a shortcut."""

    def __init__(self, inputs: int, outputs: int, *, kernel: int, stride: int) -> None:
        super().__init__()
        half = kernel // 2
        self.conv1 = nn.Conv1d(inputs, outputs, kernel, stride=stride, padding=half, bias=False)
        self.bn1 = nn.BatchNorm1d(outputs)
        self.conv2 = nn.Conv1d(outputs, outputs, kernel, padding=half, bias=False)
        self.bn2 = nn.BatchNorm1d(outputs)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv1d(inputs, outputs, 1, stride=stride, bias=False), nn.BatchNorm1d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        """Maps (batch, inputs, length) to (batch, outputs, length / stride)."""
        shortcut = x if self.downsample is None else self.downsample(x)
        x = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(x)) + shortcut)


class ConvolutionalNetwork(nn.Module):
    """A stem, three stages that double the channels, average pooling and a linear head."""

    def __init__(
        self, *, first: int, blocks: int, kernel: int, classes: int, channels: int
    ) -> None:
        super().__init__()
        self.conv1 = nn.Conv1d(channels, first, kernel, padding=kernel // 2, bias=False)
        self.bn1 = nn.BatchNorm1d(first)
        widths = [first * 2**stage for stage in range(STAGES)]
        for stage, width in enumerate(widths):
            before = widths[max(stage - 1, 0)]
            rest = (Block(width, width, kernel=kernel, stride=1) for _ in range(blocks - 1))
            head = Block(before, width, kernel=kernel, stride=1 if stage == 0 else 2)
            self.add_module(f"layer{stage + 1}", nn.Sequential(head, *rest))
        self.pool = nn.Sequential(nn.AdaptiveAvgPool1d(1), nn.Flatten())
        self.fc = nn.Linear(widths[-1], classes)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch, classes) from (batch, channels, length)."""
        x = F.relu(self.bn1(self.conv1(x)))
        for stage in range(STAGES):
            x = self.get_submodule(f"layer{stage + 1}")(x)
        return self.fc(self.pool(x))  # type: ignore[no-any-return]  # nn.Module.__call__ is untyped
