"""One batch as an objective sees it: what was shown, and what both sides make of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Mix:
    """The second item that is blended into each one (mixup, CutMix)."""

    labels: Tensor
    """(batch,) int64, of the second items."""
    share: Tensor
    """(batch,) float32, of the first items, in [0, 1]."""


@dataclass(frozen=True, slots=True)
class Shown:
    """Items of the train part in one view."""

    items: Tensor
    """(batch, …), as the part's source gives them."""
    index: Tensor
    """(batch,) int64, their positions in the source, on the device."""
    labels: Tensor
    """(batch,) int64 on the device; -1 where a row has none."""
    mix: Mix | None = None

    @property
    def dominant(self) -> Tensor:
        """(batch,) int64: the label of the item that most of each one is; the first's of equals."""
        if self.mix is None:
            return self.labels
        return torch.where(self.mix.share >= 0.5, self.labels, self.mix.labels)


@dataclass(frozen=True, slots=True)
class Told:
    """What the teacher says of a batch."""

    logits: Tensor
    """(batch, classes), in the dataset's order of classes."""
    features: Mapping[str, Tensor] = field(default_factory=dict)
    """Layer -> activation, of the first teacher."""


@dataclass(frozen=True, slots=True)
class Batch:
    """What a term of an objective is a function of."""

    shown: Shown
    logits: Tensor
    """The student's, (batch, classes)."""
    features: Mapping[str, Tensor]
    """The student's layer -> activation."""
    network: nn.Module
    """The student."""
    teacher: Told | None
    """None where no term asks a teacher."""

    @property
    def told(self) -> Told:
        """What the teacher says.

        Returns:
            It.

        Raises:
            ValueError: No teacher was asked.
        """
        if self.teacher is None:
            raise ValueError("this objective needs a teacher's outputs")
        return self.teacher
