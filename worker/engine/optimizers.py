"""Optimizers from their specifications."""

from __future__ import annotations

from typing import assert_never

import torch
from torch import nn

from stillhouse.spec import AdamW, Muon, Sgd


def make(spec: Sgd | AdamW | Muon, *modules: nn.Module) -> torch.optim.Optimizer:
    """An optimizer of all parameters of a network, and of the objective that it learns by.

    Weight decay applies to every parameter, biases and normalisation's affine included, as in
    the CRD benchmark. The learning rate is set at each step (see `schedule`).
    """
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    # Fused updates are one kernel for all parameters, on a CPU as well.
    match spec:
        case Sgd():
            return torch.optim.SGD(
                parameters,
                lr=0.0,
                momentum=spec.momentum,
                nesterov=spec.nesterov,
                weight_decay=spec.weight_decay,
                fused=True,
            )
        case AdamW():
            return torch.optim.AdamW(
                parameters, lr=0.0, betas=spec.betas, weight_decay=spec.weight_decay, fused=True
            )
        case Muon():
            raise NotImplementedError
        case _:
            assert_never(spec)
