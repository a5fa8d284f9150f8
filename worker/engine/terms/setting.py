"""What is known of a run when its terms are made."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from stillhouse.spec import AnyInput, NetworkSpec
from worker.engine.data import feed
from worker.engine.teacher import Teacher


@dataclass(frozen=True, slots=True)
class Side:
    """One network of a pair, and what it takes to look into it."""

    network: nn.Module
    """On the device; of a teacher, without a re-ordering of its classes."""
    spec: NetworkSpec
    input: AnyInput

    def example(self) -> Tensor:
        """The network's input for two blank items, on its device."""
        device = next(self.network.parameters()).device
        return feed.example(self.input, 2, device=device)


@dataclass(frozen=True, slots=True)
class Setting:
    """A run as its terms see it."""

    student: Side
    teacher: Teacher | None
    """The first one, if it is known by its weights."""
    labels: Tensor
    """(rows,) int64 of the train source on the device; -1 where a row has none."""
    classes: int
    seed: int
    mixes: bool = False
    """Whether items are shown blended with others."""
