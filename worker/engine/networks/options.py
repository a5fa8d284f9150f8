"""What a network's options may say."""

from __future__ import annotations

from typing import Any, NoReturn

from stillhouse.errors import InputRejected
from stillhouse.spec import AnyInput, InputSpec, NetworkSpec

_REFUSED = frozenset({
    "cache_dir", "checkpoint_path", "exportable", "feature_cfg", "feature_cls",
    "feature_filter_fn", "features_only", "kwargs_filter", "model_cls", "no_jit", "out_indices",
    "scriptable", "variant",
})  # fmt: skip
_REFUSED_PREFIX = "pretrained"


def check(spec: NetworkSpec, *, classes: int, fed: AnyInput, field: str) -> None:
    """Refuse options that fetch, run or replace something, or that contradict the data.

    Args:
        spec: The network.
        classes: Outputs that it must have.
        fed: What it is fed; an image says how many channels the network must have.
        field: Where the specification stands in what the user sent.

    Raises:
        InputRejected: `network_option_refused`, `class_count_differs` or `channels_differ`.
    """
    for name in spec.options:
        if name in _REFUSED or name.startswith(_REFUSED_PREFIX):
            raise InputRejected(
                "network_option_refused",
                f"The option '{name}' is not taken from a specification; leave it out.",
                field=f"{field}.options.{name}",
            )
    _agree(spec, "num_classes", classes, code="class_count_differs", what="classes", field=field)
    if isinstance(fed, InputSpec):
        channels = fed.channel_count
        _agree(spec, "in_chans", channels, code="channels_differ", what="channels", field=field)


def _agree(
    spec: NetworkSpec, option: str, expected: int, *, code: str, what: str, field: str
) -> None:
    given = spec.options.get(option, expected)
    if given != expected or isinstance(given, bool):
        raise InputRejected(
            code,
            f"'{option}' is {given!r}, but there are {expected} {what}; "
            f"make it {expected} or leave it out.",
            field=f"{field}.options.{option}",
        )


def rest(spec: NetworkSpec) -> dict[str, Any]:
    """The options that say more than classes and channels."""
    return {k: v for k, v in spec.options.items() if k not in ("num_classes", "in_chans")}


def refuse_modality(spec: NetworkSpec, fed: AnyInput, *, takes: str, field: str) -> NoReturn:
    """Refuse a network for data that it can't take; raises `InputRejected` always."""
    raise InputRejected(
        "modality_differs",
        f"'{spec.name}' takes {takes} data, this is {fed.modality}; take another network.",
        field=f"{field}.name",
    )
