"""A teacher's outputs for the train part: remembered where views return, else computed anew."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from worker.engine.batch import Shown, Told
from worker.engine.data import views
from worker.engine.data.source import Source
from worker.engine.recipe import Recipe
from worker.engine.teacher import Teacher

MAX_REMEMBERED_BYTES = 256 * 2**20
_CHUNK = 256
"""Rows in one forward when a view is remembered: fixed, so that a target never depends on the
order of batches, and a resumed run finds the same bits."""


@dataclass(slots=True)
class TeacherOutputs:
    """One run's view of a teacher."""

    teacher: Teacher
    source: Source
    """Of the teacher's own items, in the student's order of rows."""
    recipe: Recipe
    remembers: bool
    forwards: int = 0
    """Items that the teacher was run on."""
    hits: int = 0
    """Items whose outputs were there when an epoch began."""
    _views: dict[int, Tensor] = field(default_factory=dict)
    """View -> logits (rows, classes) on the device."""

    def open_view(self, view: int, *, pulse: Callable[[], None]) -> None:
        """Have a view's outputs ready before an epoch shows it; `pulse` may raise to stop."""
        if not self.remembers:
            return
        if view in self._views:
            self.hits += len(self.source)
            return
        self._views[view] = self._compute_all(view, pulse=pulse)

    def take(self, shown: Shown, *, view: int) -> Told:
        """What the teacher says of a batch in this view."""
        if self.remembers:
            return Told(self._views[view][shown.index])
        return Told(self._forward(shown.items))

    def _compute_all(self, view: int, *, pulse: Callable[[], None]) -> Tensor:
        outputs: list[Tensor] = []
        rows = len(self.source)
        for start in range(0, rows, _CHUNK):
            stop = min(start + _CHUNK, rows)
            index = torch.arange(start, stop, device=self.source.device)
            shown = views.apply(
                self.source.span(start, stop),
                index,
                augment=self.recipe.augment,
                seed=self.recipe.view_seed,
                view=view,
            )
            outputs.append(self._forward(shown))
            pulse()
        return torch.cat(outputs)

    def _forward(self, shown: Tensor) -> Tensor:
        self.forwards += len(shown)
        with torch.no_grad():
            return self.teacher.network(self.teacher.feed(shown)).float()  # type: ignore[no-any-return]  # nn.Module.__call__ is untyped


def begin(teacher: Teacher, source: Source, *, recipe: Recipe, classes: int) -> TeacherOutputs:
    """Decide by the number of views whether outputs are worth remembering, and fit in memory."""
    distinct = views.count(views=recipe.views, epochs=recipe.epochs, augment=recipe.augment)
    returns = isinstance(recipe.views, int) or not recipe.augment
    fits = len(source) * distinct * classes * 4 <= MAX_REMEMBERED_BYTES
    return TeacherOutputs(teacher=teacher, source=source, recipe=recipe, remembers=returns and fits)
