"""Where both networks look: normalised sums of squared activations (AT).

Zagoruyko & Komodakis 2017, arXiv:1612.03928.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from worker.engine.losses import directions, pooling, precision


def loss(pairs: Sequence[tuple[Tensor, Tensor]]) -> Tensor:
    """Mean of (a_s - a_t)² over items and positions, summed over the pairs.

    a = v / ‖v‖ with v = the sum over channels of squared activations. The mean of squares is the
    authors' code and the CRD benchmark's, for which the weight of 1000 is published; the paper's
    equation 2 has the sum of the norms ‖a_s - a_t‖. Of two sizes the larger map is averaged down
    to the smaller, as there. A map of zeros is finite and has no gradient. No gradient reaches
    the teacher.

    Args:
        pairs: Student's and teacher's activations (batch, channels, *positions); channels may
            differ, and so may positions, though not the number of their axes.

    Returns:
        A scalar, in float32 at least.
    """
    distances = [
        (_attention(student, like=teacher) - _attention(teacher.detach(), like=student))
        .square()
        .mean()
        for student, teacher in pairs
    ]
    return sum(distances[1:], start=distances[0])


def _attention(maps: Tensor, *, like: Tensor) -> Tensor:
    """(batch, positions) of length 1, at the smaller of both sizes."""
    sizes = [min(sides) for sides in zip(maps.shape[2:], like.shape[2:], strict=True)]
    smaller = pooling.shrink(precision.widen(maps), sizes)
    return directions.unit(smaller.square().sum(dim=1).flatten(1), dim=1)
