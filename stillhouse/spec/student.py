"""Students: a network, the weights that it begins with, and what it is fed."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from stillhouse.spec.base import Frozen, Name
from stillhouse.spec.input import AnyInput
from stillhouse.spec.network import BlobRef, NetworkSpec, Shrink, UriRef
from stillhouse.spec.objective import LayersChoice, Patterns, Ratio


class RandomInit(Frozen):
    """Weights as the network's constructor draws them, from the run's seed."""

    kind: Literal["random"] = "random"


class TeacherInit(Frozen):
    """The first teacher's selected weights, divided by a ratio (see docs/article.md)."""

    kind: Literal["from_teacher"]
    ratio: Ratio = 1.0
    """Lambda."""
    layers: LayersChoice = "first"
    direction: Literal["shrink", "grow"] = "shrink"
    """`grow` spreads a small teacher over a larger student; the rest stays random."""
    statistics: Literal["scale", "estimate"] = "scale"
    """Of batch normalisation: divided by the ratio, or estimated anew from the train part."""
    exclude: Patterns = ()
    """Student tensors (shell patterns) that stay random."""
    hold: Patterns = ()
    """Student tensors (shell patterns) that keep their first values to the last bit."""


class GivenInit(Frozen):
    """Weights that the user gives."""

    kind: Literal["given"]
    weights: BlobRef | UriRef


Init = Annotated[RandomInit | TeacherInit | GivenInit, Field(discriminator="kind")]


class StudentSpec(Frozen):
    """A student of the job: a network, or the first teacher's made smaller."""

    name: Name
    network: NetworkSpec | None = None
    shrink: Shrink | None = None
    init: Init = RandomInit()
    input: AnyInput | None = None
    """Default: the dataset's, with the first teacher's mean and std, or its tokenizer."""

    @model_validator(mode="after")
    def _one_architecture(self) -> StudentSpec:
        if (self.network is None) == (self.shrink is None):
            message = "give either 'network' or 'shrink'"
            raise ValueError(message)
        return self
