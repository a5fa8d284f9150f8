"""The VGG networks of the CRD benchmark, with batch normalisation.

Simonyan & Zisserman 2014, arXiv:1409.1556, with the parameter names of the public checkpoints of
Tian et al. 2020, arXiv:1910.10699. The last pooling adapts; the first three halve the size, so an
input has 8 pixels a side or more.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

SHAPES: dict[str, tuple[int, ...]] = {
    "vgg8": (1, 1, 1, 1, 1),
    "vgg11": (1, 1, 2, 2, 2),
    "vgg13": (2, 2, 2, 2, 2),
    "vgg16": (2, 2, 3, 3, 3),
    "vgg19": (2, 2, 4, 4, 4),
}
"""Name -> convolutions of each of the five stages."""
_WIDTHS = (64, 128, 256, 512, 512)


class VggNetwork(nn.Module):
    """Five stages of convolutions, pooling between them, and a linear head."""

    def __init__(
        self, depths: tuple[int, ...], widths: tuple[int, ...], *, classes: int, channels: int
    ) -> None:
        super().__init__()
        inputs = (channels, *widths[:-1])
        for stage, (before, after, depth) in enumerate(zip(inputs, widths, depths, strict=True)):
            self.add_module(f"block{stage}", _stage(before, after, depth=depth))
        self.pool = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.classifier = nn.Linear(widths[-1], classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Logits (batch, classes) from (batch, channels, h, w)."""
        for stage in range(len(_WIDTHS)):
            x = F.relu(self.get_submodule(f"block{stage}")(x))
            if stage < 3:
                x = F.max_pool2d(x, 2)
        return self.classifier(self.pool(x))  # type: ignore[no-any-return]  # nn.Module.__call__ is untyped


def _stage(inputs: int, outputs: int, *, depth: int) -> nn.Sequential:
    """Convolution, normalisation and activation, without the last activation."""
    layers: list[nn.Module] = []
    for number in range(depth):
        before = inputs if number == 0 else outputs
        layers += [nn.Conv2d(before, outputs, 3, padding=1), nn.BatchNorm2d(outputs), nn.ReLU()]
    return nn.Sequential(*layers[:-1])


def make(name: str, *, width: float, classes: int, channels: int) -> VggNetwork:
    """A network by its published name, perhaps with a share of its widths."""
    widths = tuple(max(round(base * width), 1) for base in _WIDTHS)
    return VggNetwork(SHAPES[name], widths, classes=classes, channels=channels)
