"""What students are fed: the dataset's form with the first teacher's statistics or tokenizer."""

from __future__ import annotations

import math
from typing import Any

from pydantic import TypeAdapter

from core.inputs import Inputs
from core.tables import Dataset, Teacher
from stillhouse.errors import InputRejected
from stillhouse.spec import AnyInput, InputSpec, SequenceInput, TableInput, TextInput

_INPUT: TypeAdapter[AnyInput] = TypeAdapter(AnyInput)


def default(inputs: Inputs) -> AnyInput:
    """What a student is fed that says nothing of it.

    Images: the dataset's size and channels, the first teacher's mean and std. Text: the tokenizer
    and length of the first teacher that has one. Series and tables: as the dataset says.

    Args:
        inputs: Ready.

    Returns:
        The input; a text's may lack a tokenizer.
    """
    dataset = inputs.dataset
    theirs = next((_of_teacher(one) for one in inputs.teachers if one.input), None)
    if modality(dataset) == "image":
        return _image(dataset, theirs if isinstance(theirs, InputSpec) else None)
    found = _INPUT.validate_python(dataset.facts["input"])
    if isinstance(found, TextInput):
        said = next(
            (one for one in map(_of_teacher, inputs.teachers)
             if isinstance(one, TextInput) and one.tokenizer),
            found,
        )  # fmt: skip
        own = found.max_length if "max_length" in found.model_fields_set else said.max_length
        return TextInput(modality="text", max_length=own, tokenizer=said.tokenizer)
    if isinstance(found, SequenceInput) and isinstance(theirs, SequenceInput):
        mean, std = theirs.mean or found.mean, theirs.std or found.std
        return found.model_copy(update={"mean": mean, "std": std})
    return found


def complete(given: AnyInput | None, default: AnyInput, *, field: str) -> AnyInput:
    """A student's own input, with the default's values where it has none.

    Args:
        given: What the spec says.
        default: What `default` found.
        field: Where it stands in the spec.

    Returns:
        The input.

    Raises:
        InputRejected: `modality_differs`, `inputs_differ` or `tokenizer_missing`.
    """
    if given is not None and given.modality != default.modality:
        raise InputRejected(
            "modality_differs",
            f"The student takes {given.modality}, the dataset is {default.modality}; leave its "
            "'input' out, or take another dataset.",
            field=field,
        )
    made = default if given is None else _merged(given, default)
    if isinstance(made, TextInput) and made.tokenizer is None:
        raise InputRejected(
            "tokenizer_missing",
            "No teacher of the job has a tokenizer; give the student one: "
            "{'modality': 'text', 'tokenizer': {'tokenizer.json': SHA-256}}.",
            field=f"{field}.tokenizer",
        )
    require_alike(made, default, who="student", field=field)
    return made


def require_teacher(teacher: Teacher, dataset: Dataset, *, field: str) -> None:
    """Refuse a teacher that can't read the dataset's items.

    Raises `InputRejected`: `modality_differs` or `inputs_differ`.
    """
    theirs = _of_teacher(teacher)
    if theirs is None:
        return
    if theirs.modality != modality(dataset):
        raise InputRejected(
            "modality_differs",
            f"The teacher takes {theirs.modality}, the dataset is {modality(dataset)}; take "
            "another teacher.",
            field=field,
        )
    if not isinstance(theirs, InputSpec):
        ours = _INPUT.validate_python(dataset.facts["input"])
        require_alike(theirs, ours, who="teacher", field=field)


def require_transfer(transfer: Dataset, dataset: Dataset, *, field: str) -> None:
    """Refuse a transfer set whose items aren't of the dataset's form.

    Raises `InputRejected`: `modality_differs` or `inputs_differ`.
    """
    if modality(transfer) != modality(dataset):
        raise InputRejected(
            "modality_differs",
            f"The transfer set is {modality(transfer)}, the dataset is {modality(dataset)}.",
            field=field,
        )
    theirs, ours = transfer.facts["input"], dataset.facts["input"]
    if modality(dataset) == "image":
        keys = ("size", "channels")
        if [theirs[key] for key in keys] != [ours[key] for key in keys]:
            raise _differ("transfer set", "images of another size or number of channels", field)
        return
    one, other = _INPUT.validate_python(theirs), _INPUT.validate_python(ours)
    require_alike(one, other, who="transfer set", field=field)


def require_alike(one: AnyInput, dataset: AnyInput, *, who: str, field: str) -> None:
    """Refuse series of another shape and other columns than the dataset's.

    Raises `InputRejected` (`inputs_differ`).
    """
    match one, dataset:
        case SequenceInput(), SequenceInput():
            if (one.length, one.channels) != (dataset.length, dataset.channels):
                raise _differ(who, "series of another length or number of channels", field)
        case TableInput(), TableInput():
            if _columns(one) != _columns(dataset):
                raise _differ(who, "other columns, or other values of a category", field)


def modality(dataset: Dataset) -> str:
    """What a dataset's items are."""
    return str(dataset.spec.get("modality", "image"))


def _of_teacher(teacher: Teacher) -> AnyInput | None:
    return _INPUT.validate_python(teacher.input) if teacher.input else None


def _columns(table: TableInput) -> list[tuple[Any, ...]]:
    """What a row's numbers mean: a category is stored as its value's number."""
    return [(one.name, one.kind, getattr(one, "values", None)) for one in table.columns]


def _differ(who: str, what: str, field: str) -> InputRejected:
    return InputRejected(
        "inputs_differ",
        f"The {who} has {what} than the dataset; give both the same 'input'.",
        field=field,
    )


def _merged(given: AnyInput, default: AnyInput) -> AnyInput:
    match given, default:
        case InputSpec(), InputSpec():
            is_said = "channels" in given.model_fields_set
            channels = given.channels if is_said else default.channels
            count = 1 if channels == "gray" else 3
            return given.model_copy(
                update={
                    "channels": channels,
                    "mean": per_channel(given.mean or default.mean, count, 0.0),
                    "std": per_channel(given.std or default.std, count, 1.0),
                }
            )
        case SequenceInput(), SequenceInput():
            mean, std = given.mean or default.mean, given.std or default.std
            return given.model_copy(update={"mean": mean, "std": std})
        case TextInput(), TextInput():
            is_said = "max_length" in given.model_fields_set
            return TextInput(
                modality="text",
                max_length=given.max_length if is_said else default.max_length,
                tokenizer=given.tokenizer or default.tokenizer,
            )
    return given


def _image(dataset: Dataset, theirs: InputSpec | None) -> InputSpec:
    found = dataset.facts["input"]
    channels = found["channels"]
    declared = dataset.spec.get("input") or {}
    mean = theirs.mean if theirs else declared.get("mean")
    std = theirs.std if theirs else declared.get("std")
    count = 1 if channels == "gray" else 3
    return InputSpec(
        size=tuple(found["size"]),
        channels=channels,
        mean=per_channel(mean, count, 0.0),
        std=per_channel(std, count, 1.0),
        interpolation=theirs.interpolation if theirs else "bilinear",
    )


def per_channel(values: Any, count: int, otherwise: float) -> tuple[float, ...]:
    """A value for each channel, of one for all or of another number of channels."""
    if not values:
        return (otherwise,) * count
    if len(values) == count:
        return tuple(values)
    # One value stands for all; three on gray are averaged, as the luminance nearly does.
    return (math.fsum(values) / len(values),) * count
