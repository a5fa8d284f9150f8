"""A term's module from its specification, or the reason why there can't be one."""

from __future__ import annotations

from typing import assert_never

from stillhouse.errors import InputRejected
from stillhouse.spec import (
    AttentionMaps,
    Contrastive,
    Correlation,
    Decoupled,
    FeatureHint,
    HardTargets,
    Labels,
    ObjectiveTerm,
    ParameterRatio,
    Relations,
    Review,
    Similarity,
    SoftTargets,
    VirtualTeacher,
    methods,
)
from worker.engine.terms import contrastive, features, logits, pull, review
from worker.engine.terms.setting import Setting
from worker.engine.terms.term import Term

_INSIDE = frozenset({"features", "stage_maps", "teacher_weights"})


def make(spec: ObjectiveTerm, setting: Setting, *, field: str) -> Term:
    """Make a term's module, on the CPU, with weights from torch's current seed.

    What a term finds wrong with the networks is refused by codes of its own: `layer_unknown`,
    `layer_not_a_tensor`, `widths_differ`, `needs_stage_maps`, `class_weights_length`.

    Args:
        spec: The term.
        setting: The run.
        field: Where the term stands in the job's specification.

    Returns:
        The module.

    Raises:
        InputRejected: `needs_features` or `labels_missing`.
    """
    needs = methods.needs(spec)
    if needs & _INSIDE and setting.teacher is None:
        raise InputRejected(
            "needs_features",
            f"'{spec.kind}' looks inside the first teacher, of which only the outputs are known; "
            "put a teacher with weights first, or take an objective of its outputs.",
            field=f"{field}.kind",
        )
    if "labels" in needs and not bool((setting.labels >= 0).any()):
        raise InputRejected(
            "labels_missing",
            f"'{spec.kind}' needs labels, and no row to train on has one; take an objective that "
            "doesn't, or a labelled dataset.",
            field=f"{field}.kind",
        )
    return _make(spec, setting, field=field)


def _make(spec: ObjectiveTerm, setting: Setting, *, field: str) -> Term:
    made: Term
    match spec:
        case (
            Labels()
            | SoftTargets()
            | Decoupled()
            | Correlation()
            | HardTargets()
            | VirtualTeacher()
        ):
            made = logits.make(spec, setting, field=field)
        case FeatureHint():
            made = features.hint(spec, setting, field=field)
        case AttentionMaps():
            made = features.attention(spec, setting, field=field)
        case Similarity():
            made = features.alike(spec, setting, field=field)
        case Relations():
            made = features.related(spec, setting, field=field)
        case Contrastive():
            made = contrastive.make(spec, setting, field=field)
        case Review():
            made = review.make(spec, setting, field=field)
        case ParameterRatio():
            made = pull.make(spec, setting, field=field)
        case _:
            assert_never(spec)
    return made
