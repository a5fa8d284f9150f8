"""A builtin student as a program of its own, for which no code of ours is needed."""

from __future__ import annotations

import copy
from pathlib import Path

import torch
from torch import nn

from stillhouse.spec import AnyInput
from worker.engine.data import feed

PROGRAM = "model.pt2"


def write(folder: Path, network: nn.Module, *, fed: AnyInput) -> Path:
    """Export a network in eval mode, on the CPU, for any batch size.

    Args:
        folder: Where model.pt2 goes.
        network: On any device; it is left as it is.
        fed: What the program is fed: as its feed gives it, normalised.

    Returns:
        The file.
    """
    # The archive wants plain tensors; a network that trained channels-last has others.
    alone = copy.deepcopy(network).cpu().to(memory_format=torch.contiguous_format).eval()
    example = feed.example(fed, 2)
    batch = torch.export.Dim("batch", min=1)
    program = torch.export.export(alone, (example,), dynamic_shapes=({0: batch},))
    torch.export.save(program, folder / PROGRAM)
    return folder / PROGRAM
