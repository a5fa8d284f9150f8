"""Figures of a classifier from its logits: natural logarithms, temperature 1.

Everything is computed in float64 by numpy, so that the same logits give the same
digits to anyone who recomputes them.
"""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from torch import Tensor

Floats: TypeAlias = npt.NDArray[np.float64]
Labels: TypeAlias = npt.NDArray[np.int64]

_CALIBRATION_BINS = 15


def score(logits: Tensor, labels: Tensor) -> dict[str, float]:
    """All figures of a part that need labels.

    Args:
        logits: (items, classes), float32 on the CPU, one item or more.
        labels: (items,), class numbers.

    Returns:
        accuracy, balanced_accuracy, macro_f1, loss, ece and brier.
    """
    values, truth = _array(logits), _labels(labels)
    log_probabilities = _log_softmax(values)
    probabilities = np.exp(log_probabilities)
    predicted = values.argmax(axis=1)
    return {
        "accuracy": float((predicted == truth).mean()),
        "balanced_accuracy": _balanced_accuracy(predicted, truth),
        "macro_f1": _macro_f1(predicted, truth),
        "loss": float(-log_probabilities[np.arange(len(truth)), truth].mean()),
        "ece": _calibration_error(probabilities, truth),
        "brier": _brier(probabilities, truth),
    }


def correct(logits: Tensor, labels: Tensor) -> npt.NDArray[np.bool_]:
    """(items,), whether the highest logit is the label's; the first of equals counts."""
    hits: npt.NDArray[np.bool_] = _array(logits).argmax(axis=1) == _labels(labels)
    return hits


def losses(logits: Tensor, labels: Tensor) -> Floats:
    """(items,), the cross-entropy of each item, in nats."""
    truth = _labels(labels)
    each: Floats = -_log_softmax(_array(logits))[np.arange(len(truth)), truth]
    return each


def agreement(student: Tensor, teacher: Tensor) -> float:
    """The share of items, both (items, classes), for which both name the same class."""
    return float((_array(student).argmax(axis=1) == _array(teacher).argmax(axis=1)).mean())


def divergence(student: Tensor, teacher: Tensor) -> float:
    """KL(teacher‖student) in nats, averaged over items; both are (items, classes)."""
    of_teacher, of_student = _log_softmax(_array(teacher)), _log_softmax(_array(student))
    each = (np.exp(of_teacher) * (of_teacher - of_student)).sum(axis=1)
    # Rounding can leave a tiny negative number where both are equal.
    return max(float(each.mean()), 0.0)


def _array(logits: Tensor) -> Floats:
    values: Floats = logits.numpy().astype(np.float64)
    return values


def _labels(labels: Tensor) -> Labels:
    numbers: Labels = labels.numpy()
    return numbers


def _log_softmax(values: Floats) -> Floats:
    shifted = values - values.max(axis=1, keepdims=True)
    result: Floats = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return result


def _balanced_accuracy(predicted: Labels, truth: Labels) -> float:
    """Mean recall over the classes that occur."""
    return float(np.mean([(predicted[truth == c] == c).mean() for c in np.unique(truth)]))


def _macro_f1(predicted: Labels, truth: Labels) -> float:
    """Mean F1 over the classes that occur as a label or as a prediction."""
    classes = np.union1d(truth, predicted)
    size = int(classes.max()) + 1
    hits = np.bincount(truth[predicted == truth], minlength=size)[classes]
    named = np.bincount(truth, minlength=size) + np.bincount(predicted, minlength=size)
    return float(np.mean(2 * hits / named[classes]))


def _calibration_error(probabilities: Floats, truth: Labels) -> float:
    """Expected calibration error over equal-width bins, each with its upper edge (Guo 2017)."""
    confidence = probabilities.max(axis=1)
    hits = probabilities.argmax(axis=1) == truth
    bins = np.clip(np.ceil(confidence * _CALIBRATION_BINS).astype(int) - 1, 0, None)
    surplus = np.bincount(bins, weights=confidence - hits, minlength=_CALIBRATION_BINS)
    return float(np.abs(surplus).sum() / len(truth))


def _brier(probabilities: Floats, truth: Labels) -> float:
    """Squared error summed over classes, averaged over items (Brier 1950)."""
    at_truth = probabilities[np.arange(len(truth)), truth]
    squares = (probabilities**2).sum(axis=1) - at_truth**2 + (1 - at_truth) ** 2
    return float(squares.mean())
