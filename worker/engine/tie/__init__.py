"""The article's own method: a student tied to its teacher by parameters (docs/article.md).

`initialise` starts a student from its teacher's weights, `term` pulls it there while it trains,
`hold` keeps chosen tensors still, and `measure` reports how the two sets of weights relate.
"""

from worker.engine.tie.hold import Held, hold
from worker.engine.tie.initialise import initialise
from worker.engine.tie.pull import Pull, term
from worker.engine.tie.report import PULL_FROM_RANDOM, measure

__all__ = ["PULL_FROM_RANDOM", "Held", "Pull", "hold", "initialise", "measure", "term"]
