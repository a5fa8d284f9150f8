"""Knowledge review: each stage learns from the teacher's earlier stages as well.

Chen et al. 2021, arXiv:2104.09044: from the last stage to the first, a student's map is fused
with what came of the stages after it (attention-based fusion, figure 3a of the paper), brought to
the width of the teacher's stage, and compared with it.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from stillhouse.errors import InputRejected
from stillhouse.spec import Review
from worker.engine.batch import Batch
from worker.engine.losses import review
from worker.engine.terms import layers
from worker.engine.terms.features import PairedTerm
from worker.engine.terms.layers import Layer
from worker.engine.terms.setting import Setting

_MAX_WIDTH = 512
"""Of the maps that are handed from stage to stage, as in the authors' networks."""


class Fusion(nn.Module):
    """One stage: the student's map and the residue of the deeper stages, as one map."""

    def __init__(self, inputs: int, width: int, outputs: int, *, is_deepest: bool) -> None:
        super().__init__()
        self.enter = _convolution(inputs, width, kernel=1)
        self.leave = _convolution(width, outputs, kernel=3)
        self.attend = None if is_deepest else nn.Conv2d(2 * width, 2, 1)

    def forward(
        self, own: Tensor, residue: Tensor | None, *, size: torch.Size
    ) -> tuple[Tensor, Tensor]:
        """Fuse one stage.

        Args:
            own: The student's map (batch, inputs, h, w).
            residue: What the stage after this one handed on (batch, width, …); None: deepest.
            size: Height and width of the teacher's map.

        Returns:
            The map for the teacher's stage (batch, outputs, *size), and this stage's residue.
        """
        fused: Tensor = self.enter(own)
        if self.attend is not None and residue is not None:
            deeper = F.interpolate(residue, fused.shape[-2:], mode="nearest")
            share = self.attend(torch.cat([fused, deeper], dim=1)).sigmoid()
            fused = fused * share[:, :1] + deeper * share[:, 1:]
        if fused.shape[-2:] != size:
            fused = F.interpolate(fused, size, mode="nearest")
        return self.leave(fused), fused


class ReviewTerm(PairedTerm):
    """The fused maps of all stages against the teacher's."""

    min_items = 2

    def __init__(self, pairs: list[tuple[Layer, Layer]]) -> None:
        super().__init__(pairs)
        width = min(_MAX_WIDTH, pairs[-1][0].channels)
        self.stages = nn.ModuleList(
            Fusion(student.channels, width, teacher.channels, is_deepest=place == len(pairs) - 1)
            for place, (student, teacher) in enumerate(pairs)
        )

    def forward(self, batch: Batch) -> Tensor:
        """The hierarchical context loss, summed over the stages."""
        fused: list[Tensor] = []
        targets: list[Tensor] = []
        residue: Tensor | None = None
        pairs = zip(self.stages, self.read(batch), strict=True)
        for stage, (own, target) in reversed(list(pairs)):
            made, residue = stage(own, residue, size=target.shape[-2:])
            fused.append(made)
            targets.append(target)
        return review.loss(fused, targets)


def make(spec: Review, setting: Setting, *, field: str) -> ReviewTerm:
    """Knowledge review.

    Layers that aren't there are refused as in `layers.pair`.

    Args:
        spec: The term.
        setting: The run.
        field: Where the term stands.

    Returns:
        The term's module.

    Raises:
        InputRejected: `needs_stage_maps`: fewer than two stages, or one that isn't a map.
    """
    place = f"{field}.layers"
    pairs = layers.pair(spec.layers, setting, default="stages", field=place)
    flat = [layer.name for pair in pairs for layer in pair if len(layer.shape) != 3]
    if flat or len(pairs) < 2:
        found = f"'{flat[0]}' isn't one" if flat else "fewer than two are known here"
        raise InputRejected(
            "needs_stage_maps",
            "'review' needs the maps (channels, height, width) of two stages or more, and "
            f"{found}; name convolutional layers, or take another objective.",
            field=place,
        )
    return ReviewTerm(pairs)


def _convolution(inputs: int, outputs: int, *, kernel: int) -> nn.Sequential:
    layer = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
    nn.init.kaiming_uniform_(layer.weight, a=1)  # As the authors begin: no rectifier follows.
    return nn.Sequential(layer, nn.BatchNorm2d(outputs))
