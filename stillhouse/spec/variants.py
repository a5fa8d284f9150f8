"""A sweep's variants: the same job with other values in it."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from pydantic import BaseModel, ValidationError

from stillhouse.errors import InputRejected, SpecInvalid
from stillhouse.spec import pointers
from stillhouse.spec.job import (
    JobSpec,
    Sweep,
)
from stillhouse.spec.teaching import (
    AnyTeacher,
    SelfTeacher,
    TeacherRef,
)

MOST_VARIANTS = 256
SWEPT = ("objective", "training", "students", "teachers")

Changes = dict[str, Any]
"""JSON pointer into the spec -> value."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A combination of a sweep's values."""

    name: str | None
    """v1, v2, …; None: the job has no sweep."""
    changes: Changes
    spec: JobSpec
    """With the values in it, and without the sweep."""


def expand(spec: JobSpec) -> tuple[Variant, ...]:
    """Put each combination of a sweep's values into a spec.

    A grid has its parameters in the order of their pointers, whatever order they were sent in; the
    last one changes fastest. At random, draw k takes combination SHA-256("{seed}:{k}") modulo their
    number; what was drawn before is passed over. A pointer that names nothing that may be swept,
    and a value that doesn't fit there, raise `SpecInvalid`; too many, `InputRejected`.

    Args:
        spec: As sent.

    Returns:
        The variants; a single one without a name where there is no sweep.
    """
    if spec.sweep is None:
        return (Variant(None, {}, spec),)
    for pointer in spec.sweep.parameters:
        _require_swept(pointer)
    combinations = _combinations(spec.sweep)
    variants = tuple(
        Variant(f"v{number}", changes, _changed(spec, changes))
        for number, changes in enumerate(combinations, start=1)
    )
    for variant in variants:
        _require_same_names(spec, variant)
    return variants


def text(model: BaseModel) -> str:
    """A model as JSON, equal for equal models."""
    return json.dumps(model.model_dump(mode="json"), sort_keys=True)


def _require_swept(pointer: str) -> None:
    tokens = pointers.parse(pointer)
    # The objective can be swept as a whole: its terms are of different kinds.
    if tokens[0] not in SWEPT or (len(tokens) < 2 and tokens[0] != "objective"):
        raise _refused(
            pointer,
            f"'{pointer}' can't be swept: point at something below "
            f"{', '.join(f'/{name}' for name in SWEPT)}.",
        )


def _combinations(sweep: Sweep) -> Iterator[Changes]:
    for pointer, values in sweep.parameters.items():
        if len({json.dumps(value, sort_keys=True) for value in values}) < len(values):
            raise _refused(pointer, f"'{pointer}' names a value twice.")
    count = math.prod(len(values) for values in sweep.parameters.values())
    if sweep.kind == "random":
        return _drawn(sweep, count)
    if sweep.samples is not None:
        raise SpecInvalid("'samples' is for a random sweep; a grid takes every combination.",
                          field="sweep.samples")  # fmt: skip
    if count > MOST_VARIANTS:
        raise InputRejected(
            "too_many_runs",
            f"The sweep has {count} combinations, and {MOST_VARIANTS} are the most; take fewer "
            "values, or draw some at random.",
            field="sweep.parameters",
        )
    return (_combination(sweep, number) for number in range(count))


def _drawn(sweep: Sweep, count: int) -> Iterator[Changes]:
    if sweep.samples is None or sweep.samples > count:
        raise SpecInvalid(
            f"A random sweep takes 'samples', how many of its {count} combinations are drawn.",
            field="sweep.samples",
        )

    def draw() -> Iterator[int]:
        seen: set[int] = set()
        turn = 0
        while True:
            digest = hashlib.sha256(f"{sweep.seed}:{turn}".encode()).digest()
            number = int.from_bytes(digest, "big") % count
            if number not in seen:
                seen.add(number)
                yield number
            turn += 1

    return (_combination(sweep, number) for number in islice(draw(), sweep.samples))


def _combination(sweep: Sweep, number: int) -> Changes:
    """One of the grid's, the last parameter changing fastest."""
    changes: Changes = {}
    for pointer, values in sorted(sweep.parameters.items(), reverse=True):
        number, place = divmod(number, len(values))
        changes[pointer] = values[place]
    return dict(reversed(changes.items()))


def _changed(spec: JobSpec, changes: Changes) -> JobSpec:
    try:
        return _put(spec, changes)
    except (LookupError, ValidationError) as together:
        # The one that is wrong by itself is to blame; else it is how they go together.
        for pointer, value in changes.items():
            try:
                _put(spec, {pointer: value})
            except LookupError as error:
                raise _refused(pointer, _NOTHING_THERE.format(pointer)) from error
            except ValidationError as error:
                raise _refused(pointer, _misfit(pointer, value, error)) from error
        why = str(together) if isinstance(together, LookupError) else _first(together)
        message = f"{json.dumps(changes)[:200]} don't go together: {why}."
        raise SpecInvalid(message, field="sweep.parameters") from together


_NOTHING_THERE = (
    "'{}' names nothing in this spec; name first what it stands in, for example the optimizer "
    "whose rate is swept."
)


def _put(spec: JobSpec, changes: Changes) -> JobSpec:
    # Only what was sent, so that what was left out still is: defaults may depend on it.
    document = spec.model_dump(mode="json", exclude_unset=True) | {"sweep": None}
    defaults = spec.model_dump(mode="json")
    for pointer, value in changes.items():
        pointers.put(document, pointers.parse(pointer), value, defaults=defaults)
    return type(spec).model_validate(document)


def _misfit(pointer: str, value: Any, error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    if first["type"] == "extra_forbidden":
        return _NOTHING_THERE.format(pointer)
    return f"{json.dumps(value)[:100]} doesn't fit at '{pointer}': {_first(error)}."


def _first(error: ValidationError) -> str:
    message = str(error.errors(include_url=False)[0]["msg"])
    return message.removeprefix("Value error, ").rstrip(".")


def _require_same_names(spec: JobSpec, variant: Variant) -> None:
    """A sweep changes how students are taught, not who they are, nor who teaches."""
    theirs = variant.spec
    same = {
        "students": [one.name for one in spec.students] == [one.name for one in theirs.students],
        "teachers": [*map(_who, spec.teachers)] == [*map(_who, theirs.teachers)],
    }
    for pointer in variant.changes:
        section = pointers.parse(pointer)[0]
        if not same.get(section, True):
            raise _refused(
                pointer,
                f"A sweep can't change which {section} a job has; add them to '{section}', or "
                "submit a job for each.",
            )


def _who(teacher: AnyTeacher) -> str:
    match teacher:
        case TeacherRef(id=key):
            return key
        case SelfTeacher():
            return "self"
        case _:
            return text(teacher.train)


def _refused(pointer: str, message: str) -> SpecInvalid:
    return SpecInvalid(message, field=f"sweep.parameters.{pointer}")
