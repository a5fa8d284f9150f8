"""The target tau = P theta / lambda: the teacher's selected values at the student's scale."""

from __future__ import annotations

from torch import Tensor

from worker.engine.tie.layout import Kind
from worker.engine.tie.selection import Place

_POWERS: dict[Kind, int] = {"linear": 1, "plain": 0, "mean": 1, "variance": 2}
"""Of the ratio. A layer that is divided by it puts out activations divided by it, so that a batch
norm behind it keeps its function with a mean divided once and a variance divided twice."""


def scale(values: Tensor, place: Place, *, ratio: float) -> Tensor:
    """Divide values by a ratio as their kind demands.

    Weights and biases of linear layers, convolutions and embeddings (linear layers of one-hot
    inputs) are divided by the ratio; a normalisation's affine parameters and every other
    parameter stay as they are; of batch normalisation the running mean is divided by the ratio,
    the running variance by its square.

    Args:
        values: The tensor that `place` speaks of, or its part.
        place: The pair that it belongs to.
        ratio: Lambda, positive.

    Returns:
        The values at the other scale, in their own precision; the same tensor where nothing
        changes.
    """
    power = _POWERS[place.kind]
    return values / ratio**power if power and ratio != 1 else values
