"""Optimizers from their specifications."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, assert_never

import torch
from timm.optim.muon import Muon as TimmMuon
from torch import nn

from stillhouse.spec import AdamW, Muon, Sgd

_FUSED = ("cpu", "cuda")


def make(spec: Sgd | AdamW | Muon, *modules: nn.Module) -> torch.optim.Optimizer:
    """An optimizer of all parameters of a network, and of the objective that it learns by.

    Weight decay applies to every parameter, biases and normalisation's affine included, as in
    the CRD benchmark. The learning rate is set at each step (see `schedule`).

    Muon (Jordan et al. 2024) takes matrices and convolutions, these flattened to (out, in *
    positions); its updates are scaled to the size of AdamW's (Liu et al. 2025, arXiv:2502.16982),
    so that one rate serves both it and the AdamW of embeddings, biases and normalisation.
    """
    parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
    # Fused updates are one kernel for all parameters, on a CPU as well.
    fused = True if all(p.device.type in _FUSED for p in parameters) else None
    match spec:
        case Sgd():
            return torch.optim.SGD(
                parameters,
                lr=0.0,
                momentum=spec.momentum,
                nesterov=spec.nesterov,
                weight_decay=spec.weight_decay,
                fused=fused,
            )
        case AdamW():
            return torch.optim.AdamW(
                parameters, lr=0.0, betas=spec.betas, weight_decay=spec.weight_decay, fused=fused
            )
        case Muon():
            return _muon(spec, parameters, modules)
        case _:
            assert_never(spec)


def _muon(
    spec: Muon, parameters: list[nn.Parameter], modules: Iterable[nn.Module]
) -> torch.optim.Optimizer:
    looked_up = {
        id(part.weight)
        for module in modules
        for part in module.modules()
        if isinstance(part, nn.Embedding)
    }
    groups: list[dict[str, Any]] = [
        {"params": [p for p in parameters if id(p) not in looked_up]},
        {"params": [p for p in parameters if id(p) in looked_up], "use_fallback": True},
    ]
    return TimmMuon(
        [group for group in groups if group["params"]],
        lr=0.0,
        momentum=spec.momentum,
        weight_decay=spec.weight_decay,
        adjust_lr_fn="match_rms_adamw",
    )
