"""One network's view of an item told from the other network's views of other items (CRD).

Tian, Krishnan & Isola 2020, arXiv:1910.10699, equations 18 and 19; normalisation as in the
authors' code.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from worker.engine.losses import precision


def loss(
    anchor: Tensor,
    positive: Tensor,
    negatives: Tensor,
    *,
    temperature: float,
    log_mean: Tensor,
    allowed: Tensor | None = None,
) -> Tensor:
    """-log h(positive) - the sum over negatives of log(1 - h), averaged over the items.

    h = sigmoid(e·m / T - log Z - log K): the probability of being the item itself rather than one
    of K drawn negatives. The authors' code writes it as P / (P + K/N) with P = exp(e·m / T) / (N Z)
    for N rows of data, in which N cancels, and with 1e-7 in the denominator, which log space
    doesn't need. Z is the mean of exp(e·m / T) that `log_mean` gives for a first batch. One
    direction of two: add the other network's anchor against this one's memory. Only the anchor
    has a gradient.

    Args:
        anchor: Embeddings (batch, dimensions) of length 1.
        positive: The same items' (batch, dimensions), from the other network's memory.
        negatives: Other items' (batch, K, dimensions), from that memory; or (K, dimensions), the
            same for the whole batch.
        temperature: T, above 0; the paper's tau.
        log_mean: log Z, a scalar.
        allowed: (batch, K) bool, which negatives count for which item; K is their number then.
            None: all.

    Returns:
        A scalar in nats, in float32 at least: a sum over K + 1 decisions.
    """
    scores = _scores(anchor, positive, negatives, temperature=temperature)
    counted = _count(scores, allowed)
    odds = scores - log_mean.detach() - counted.sum(dim=1, keepdim=True).clamp(min=1).log()
    return (F.softplus(-odds[:, 0]) + (F.softplus(odds[:, 1:]) * counted).sum(dim=1)).mean()


def log_mean(
    anchor: Tensor,
    positive: Tensor,
    negatives: Tensor,
    *,
    temperature: float,
    allowed: Tensor | None = None,
) -> Tensor:
    """The log Z that a first batch gives: of the mean of exp(e·m / T) over all it compares.

    Args:
        anchor: As in `loss`.
        positive: As in `loss`.
        negatives: As in `loss`.
        temperature: T, above 0.
        allowed: As in `loss`.

    Returns:
        A scalar without gradient, to be kept from the first batch on.
    """
    scores = _scores(anchor.detach(), positive, negatives, temperature=temperature)
    counted = F.pad(_count(scores, allowed), (1, 0), value=1.0)
    return (scores + counted.log()).flatten().logsumexp(dim=0) - counted.sum().log()


def _scores(anchor: Tensor, positive: Tensor, negatives: Tensor, *, temperature: float) -> Tensor:
    """e·m / T, (batch, 1 + K), the positive's first."""
    anchor, positive, negatives = (
        precision.widen(one) for one in (anchor, positive.detach(), negatives.detach())
    )
    own = (anchor * positive).sum(dim=1, keepdim=True)
    others = anchor @ negatives.T if negatives.ndim == 2 else negatives @ anchor.unsqueeze(2)
    return torch.cat([own, others.view(len(anchor), -1)], dim=1) / temperature


def _count(scores: Tensor, allowed: Tensor | None) -> Tensor:
    """(batch, K): 1 for a negative that counts."""
    return torch.ones_like(scores[:, 1:]) if allowed is None else allowed.to(scores.dtype)
