"""What a run's curves show: averages over the steps since the last point."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

from torch import Tensor

from worker.engine.state import Epoch
from worker.engine.train import Step

Point = tuple[str, int, float]
"""Name, step, value."""

_MIN_INTERVAL = 20
_MAX_POINTS = 500


@dataclass(slots=True)
class Meter:
    """Sums on the device, so that only reading a point waits for it."""

    interval: int
    """Steps from one point to the next."""
    steps: int = 0
    items: int = 0
    lr: float = 0.0
    sums: dict[str, Tensor] = field(default_factory=dict)
    began: float = field(default_factory=time.perf_counter)
    is_finite: bool = True
    """Whether the loss was, when it was last read."""

    def add(self, step: Step) -> None:
        """Take a step in."""
        self.steps += 1
        self.items += step.items
        self.lr = step.lr
        for name, value in {"loss": step.loss, **step.shares}.items():
            self.sums[name] = self.sums[name] + value if name in self.sums else value

    @property
    def is_due(self) -> bool:
        """Whether it is time for a point."""
        return self.steps >= self.interval

    def read(self, step: int) -> list[Point]:
        """The points of the steps since the last reading, none if there were none."""
        if self.steps == 0:
            return []
        values = {name: float(total) / self.steps for name, total in self.sums.items()}
        values["lr"] = self.lr
        values["items_per_second"] = self.items / max(time.perf_counter() - self.began, 1e-9)
        self.is_finite = math.isfinite(values["loss"])
        self.restart()
        return [(name, step, value) for name, value in values.items() if math.isfinite(value)]

    def restart(self) -> None:
        """Forget the steps so far, and begin to measure the time anew."""
        self.steps, self.items, self.sums = 0, 0, {}
        self.began = time.perf_counter()


def make(*, steps: int) -> Meter:
    """A meter for a run of so many steps: a point every 20 steps, about 500 at most."""
    return Meter(interval=max(_MIN_INTERVAL, math.ceil(steps / _MAX_POINTS)))


def epoch_points(epoch: Epoch, *, step: int, metric: str) -> list[Point]:
    """The points of an epoch's end at a run's step; `metric` is what the job selects by."""
    names = dict.fromkeys(("accuracy", "loss", metric))
    values = {f"validation_{name}": epoch.validation[name] for name in names}
    values["train_accuracy"] = epoch.train_accuracy
    return [(name, step, value) for name, value in values.items() if math.isfinite(value)]
