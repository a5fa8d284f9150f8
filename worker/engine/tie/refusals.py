"""Why two networks can't be tied, in words that help."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NoReturn

from stillhouse.errors import InputRejected
from stillhouse.spec import AnyInput, InputSpec, SequenceInput
from worker.engine.tie.layout import Layout

Direction = Literal["shrink", "grow"]
_MAX_NAMED = 20


def check_inputs(mine: AnyInput, theirs: AnyInput, *, field: str) -> None:
    """Refuse first layers of other inputs; raises `InputRejected` (`inputs_differ`)."""
    if mine.modality == theirs.modality and _channels(mine) == _channels(theirs):
        return
    raise InputRejected(
        "inputs_differ",
        f"The student is fed {mine.modality} data with {_channels(mine)} channels, the teacher "
        f"{theirs.modality} data with {_channels(theirs)}: their first layers can't be tied. "
        "Give both the same input.",
        field=field,
    )


def _channels(fed: AnyInput) -> int:
    if isinstance(fed, InputSpec):
        return fed.channel_count
    return fed.channels if isinstance(fed, SequenceInput) else 1


def check_blocks(
    small: Layout, large: Layout, modules: Mapping[str, str | None], *, field: str
) -> None:
    """Refuse where blocks would be cut, because nothing says where they begin.

    Args:
        small: The small network's layout.
        large: The large one's.
        modules: The small network's modules -> the large one's (`pairing.pair`).
        field: Where the tie stands in the job's specification.

    Raises:
        InputRejected: `selection_not_supported`.
    """
    for mine, theirs, what in (
        (small.unread, large.unread, "attention heads"),
        (small.groups, large.groups, "groups of a convolution"),
    ):
        for name, count in mine.items():
            other = theirs.get(modules[name] or "", count)
            if other != count:
                raise InputRejected(
                    "selection_not_supported",
                    f"'{name}' has {count} {what}, its counterpart {other}, and this network "
                    "doesn't show which channels belong together. Keep their number the same.",
                    field=field,
                )


def unknown_outputs(*, field: str) -> InputRejected:
    """The refusal of a teacher whose classes have another order, and can't be found in it."""
    return InputRejected(
        "selection_not_supported",
        "The teacher's classes have another order than the dataset's, and no single layer of it "
        "puts out the logits, so its rows can't be put in order. Take another teacher, or leave "
        "the parameters alone.",
        field=field,
    )


def wrong_direction(names: list[str], direction: Direction, *, field: str) -> NoReturn:
    """The refusal of a pair of which the wrong one is the smaller."""
    if direction == "shrink":
        detail = (
            "The student is larger than the teacher there; take a smaller network, or (as an "
            "initialisation) the direction 'grow', which spreads a small teacher over it."
        )
        raise _refused("student_wider", detail, names, field=field)
    detail = (
        "The student is smaller than the teacher there; take the direction 'shrink', or a larger "
        "network."
    )
    raise _refused("student_narrower", detail, names, field=field)


def without_counterpart(names: list[str], direction: Direction, *, field: str) -> NoReturn:
    """The refusal of a network that has something which the other one hasn't."""
    mine, other = ("student", "teacher") if direction == "shrink" else ("teacher", "student")
    detail = (
        f"{len(names)} of the {mine}'s tensors have no counterpart in the {other}. Take a "
        "network of the same kind, or name them in 'exclude' (shell patterns)."
    )
    raise _refused("tensor_without_counterpart", detail, names, field=field)


def _refused(code: str, detail: str, names: list[str], *, field: str) -> InputRejected:
    return InputRejected(
        code,
        f"{detail} The first: '{names[0]}'.",
        field=field,
        tensors={"names": names[:_MAX_NAMED], "total": len(names)},
    )
