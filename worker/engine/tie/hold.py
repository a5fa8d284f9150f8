"""Chosen tensors of a student that training leaves as they are."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from stillhouse.errors import InputRejected


@dataclass(frozen=True, slots=True)
class Held:
    """First values that are to be kept to the last bit."""

    values: dict[str, Tensor]
    """Name in the student's state dict -> a copy of its own."""

    def restore(self, network: nn.Module) -> None:
        """Write the first values back; after every step of an optimizer, and of an average.

        Stopping a parameter's gradient isn't enough: momentum and weight decay still move it.

        Args:
            network: The student, or a copy of it under the same names (an EMA).
        """
        with torch.no_grad():
            for name, value in self.values.items():
                _read(network, name).copy_(value)


def hold(init: object, network: nn.Module, *, field: str = "init") -> Held:
    """Remember the values of the tensors that an initialisation holds.

    Args:
        init: An initialisation (`StudentSpec.init`); one that can't hold anything holds nothing.
        network: The student at its first step, on its device.
        field: Where `init` stands in the job's specification.

    Returns:
        What is held, perhaps nothing.

    Raises:
        InputRejected: `hold_without_tensor`: a pattern names none.
    """
    patterns: tuple[str, ...] = getattr(init, "hold", ())
    state = network.state_dict()
    values: dict[str, Tensor] = {}
    for place, pattern in enumerate(patterns):
        names = [name for name in state if fnmatchcase(name, pattern)]
        if not names:
            raise InputRejected(
                "hold_without_tensor",
                f"No tensor of the student is named like '{pattern}'; "
                "shell patterns match whole names, such as 'layer1.*'.",
                field=f"{field}.hold.{place}",
                allowed=list(state)[:100],
            )
        values |= {name: state[name].clone() for name in names}
    return Held(values)


def _read(network: nn.Module, name: str) -> Tensor:
    path, _, own = name.rpartition(".")
    tensor: Tensor = getattr(network.get_submodule(path), own)
    return tensor
