"""What the teachers say of the train rows: remembered where views return, else computed anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from worker.engine import features
from worker.engine.batch import Shown, Told
from worker.engine.data import views
from worker.engine.data.source import Source
from worker.engine.panel import Panel
from worker.engine.recipe import Recipe
from worker.engine.teacher import Teacher

MAX_REMEMBERED_BYTES = 256 * 2**20
_CHUNK = 256
"""Rows in one forward when a view is remembered: fixed, so that a target never depends on the
order of batches, and a resumed run finds the same bits."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A teacher that is run on what the student is shown."""

    teacher: Teacher
    own: Source | None
    """Its own tokens of the same rows; None: it sees the student's items."""

    def tell(self, items: Tensor, index: Tensor, *, layers: Sequence[str]) -> Told:
        """Its logits (batch, classes), and the activations of its layers, without gradients."""
        if self.own is not None:
            items = self.own.take(index if self.own.resident is not None else index.cpu())
        with torch.no_grad(), features.capture(self.teacher.body, layers) as seen:
            logits = self.teacher.network(self.teacher.feed(items)).float()
        return Told(logits, seen)


@dataclass(frozen=True, slots=True)
class LookedUp:
    """A teacher whose outputs for every row are known."""

    outputs: Tensor
    """(rows, classes), on the device."""

    def tell(self, items: Tensor, index: Tensor, *, layers: Sequence[str]) -> Told:
        """Its logits (batch, classes) for the plain rows, whatever view of them is shown."""
        del items, layers
        return Told(self.outputs[index])


Voice = Asked | LookedUp


@dataclass(slots=True)
class TeacherOutputs:
    """One run's view of its teachers."""

    panel: Panel
    voices: tuple[Voice, ...]
    """One for each teacher of the panel."""
    source: Source
    """Of the student's items."""
    recipe: Recipe
    views: int
    """How many distinct ones the run shows."""
    remembers: bool
    layers: tuple[str, ...] = ()
    """The first teacher's activations that are wanted; set before the first view is opened."""
    forwards: int = 0
    """Items that a teacher was run on, for all teachers together."""
    hits: int = 0
    """Items whose outputs were there when an epoch began, for all teachers together."""
    _views: dict[int, Told] = field(default_factory=dict)
    """View -> what the panel says of all rows, on the device."""

    def open_view(self, view: int, *, pulse: Callable[[], None]) -> None:
        """Have a view's outputs ready before an epoch shows it; `pulse` may raise to stop."""
        rows = len(self.source)
        running = sum(isinstance(voice, Asked) for voice in self.voices)
        self.hits += rows * (len(self.voices) - running)
        if not self.remembers:
            return
        if view in self._views:
            self.hits += rows * running
            return
        found = self._compute_all(view, pulse=pulse)
        if found is None:
            self.remembers = False
        else:
            self._views[view] = found

    def take(self, shown: Shown, *, view: int) -> Told:
        """What the teachers say of a batch in this view."""
        if self.remembers:
            found = self._views[view]
            seen = {name: tensor[shown.index] for name, tensor in found.features.items()}
            return Told(found.logits[shown.index], seen)
        return self._ask(shown.items, shown.index)

    def _compute_all(self, view: int, *, pulse: Callable[[], None]) -> Told | None:
        """All rows' outputs; None if those of all views would take more memory than they may."""
        chunks: list[Told] = []
        rows = len(self.source)
        for start in range(0, rows, _CHUNK):
            stop = min(start + _CHUNK, rows)
            index = torch.arange(start, stop)
            shown = views.show(
                self.source,
                index,
                augment=self.recipe.augment,
                seed=self.recipe.view_seed,
                view=view,
            )
            chunks.append(self._ask(shown.items, index.to(self.source.device)))
            if start == 0 and _bytes(chunks[0]) / stop * rows * self.views > MAX_REMEMBERED_BYTES:
                return None
            pulse()
        return _join(chunks)

    def _ask(self, items: Tensor, index: Tensor) -> Told:
        said: list[Told] = []
        for place, voice in enumerate(self.voices):
            said.append(voice.tell(items, index, layers=() if place else self.layers))
            self.forwards += len(index) if isinstance(voice, Asked) else 0
        return Told(self.panel.average([told.logits for told in said]), said[0].features)


def begin(
    panel: Panel,
    source: Source,
    *,
    recipe: Recipe,
    classes: int,
    own: Sequence[Source | None] | None = None,
) -> TeacherOutputs:
    """Decide by the number of views whether outputs are worth remembering, and fit in memory.

    Rows that a teacher's recorded outputs lack are refused as in `Recorded.look_up`.

    Args:
        panel: The teachers.
        source: Of the student's items.
        recipe: The job's.
        classes: The dataset's number of classes.
        own: For each teacher its own items of the same rows (tokens), or None: the student's.

    Returns:
        The teachers, ready for the first view.
    """
    distinct = views.count(views=recipe.views, epochs=recipe.epochs, augment=recipe.augment)
    returns = isinstance(recipe.views, int) or not recipe.augment
    fits = len(source) * distinct * classes * 4 <= MAX_REMEMBERED_BYTES
    voices: tuple[Voice, ...] = tuple(
        Asked(one, items)
        if isinstance(one, Teacher)
        else LookedUp(one.look_up(source.part).to(source.device))
        for one, items in zip(panel.teachers, own or [None] * len(panel.teachers), strict=True)
    )
    return TeacherOutputs(
        panel=panel,
        voices=voices,
        source=source,
        recipe=recipe,
        views=distinct,
        remembers=returns and fits and any(isinstance(voice, Asked) for voice in voices),
    )


def _bytes(told: Told) -> int:
    return sum(tensor.nbytes for tensor in (told.logits, *told.features.values()))


def _join(chunks: list[Told]) -> Told:
    names = chunks[0].features
    return Told(
        torch.cat([chunk.logits for chunk in chunks]),
        {name: torch.cat([chunk.features[name] for chunk in chunks]) for name in names},
    )
