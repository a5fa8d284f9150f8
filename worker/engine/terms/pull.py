"""The pull towards the teacher's weights, as a term."""

from __future__ import annotations

from torch import Tensor, nn

from stillhouse.spec import ParameterRatio
from worker.engine import tie
from worker.engine.batch import Batch
from worker.engine.terms.setting import Setting
from worker.engine.terms.term import Term


class PullTerm(Term):
    """Half the squared distance from the tied weights to their targets."""

    def __init__(self, pull: nn.Module) -> None:
        super().__init__()
        self.pull = pull

    def forward(self, batch: Batch) -> Tensor:
        """The penalty, whatever the items are."""
        return self.pull(batch)  # type: ignore[no-any-return]  # nn.Module.__call__ is untyped


def make(spec: ParameterRatio, setting: Setting, *, field: str) -> PullTerm:
    """The pull; tensors without a counterpart are refused as in `tie.term`."""
    if setting.teacher is None:
        raise ValueError("a pull needs the teacher's weights")
    student = setting.student
    pull = tie.term(spec, student.network, setting.teacher, fed=student.input, field=field)
    return PullTerm(pull)
