"""What brings two networks' activations to one shape: pooling, and learned linear maps."""

from __future__ import annotations

from torch import Tensor, nn

from worker.engine.losses import pooling


def linear(inputs: int, outputs: int, *, positions: int) -> nn.Module:
    """A linear map of channels, position by position, with batch normalisation.

    Args:
        inputs: Channels of (batch, inputs, *positions).
        outputs: Channels of (batch, outputs, *positions).
        positions: How many axes of positions there are: none, one, or two.

    Returns:
        The module.
    """
    if positions == 0:
        return nn.Sequential(nn.Linear(inputs, outputs, bias=False), nn.BatchNorm1d(outputs))
    if positions == 1:
        return nn.Sequential(nn.Conv1d(inputs, outputs, 1, bias=False), nn.BatchNorm1d(outputs))
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, bias=False), nn.BatchNorm2d(outputs))


def align(student: Tensor, teacher: Tensor) -> tuple[Tensor, Tensor]:
    """Both activations at the same positions.

    Of two maps the larger is averaged down to the smaller. A map and a vector, or tokens and a
    map, share no positions: both become their mean over all of them.

    Args:
        student: (batch, channels, *positions).
        teacher: (batch, channels, *positions), in any number of axes.

    Returns:
        Both, with equal positions; their channels are as they were.
    """
    if student.ndim != teacher.ndim:
        return pool(student), pool(teacher)
    sizes = zip(student.shape[2:], teacher.shape[2:], strict=True)
    smaller = [min(pair) for pair in sizes]
    return pooling.shrink(student, smaller), pooling.shrink(teacher, smaller)


def positions(student: tuple[int, ...], teacher: tuple[int, ...]) -> int:
    """How many axes of positions are left after `align`, from both shapes of one item."""
    return len(student) - 1 if len(student) == len(teacher) else 0


def pool(activation: Tensor) -> Tensor:
    """The mean over all positions, (batch, channels)."""
    return activation.flatten(2).mean(dim=2) if activation.ndim > 2 else activation
