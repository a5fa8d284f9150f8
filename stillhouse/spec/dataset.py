"""Datasets: references that are resolved once, decoded once and split once."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from stillhouse.spec.base import (
    ClassNames,
    Frozen,
    Int,
    Metadata,
    Name,
    Number,
    later,
    not_available,
)
from stillhouse.spec.input import AnyInput, Modality
from stillhouse.spec.network import BlobRef, UriRef

Column = Annotated[str, StringConstraints(min_length=1, max_length=256)]
Fraction = Annotated[Number, Field(ge=0, lt=1)]


def _one_of(known: tuple[str, ...], named_for_later: tuple[str, ...]) -> BeforeValidator:
    def refuse(value: Any) -> Any:
        if value in named_for_later:
            raise not_available(f"'{value}'", f"take one of {', '.join(known)}")
        return value

    return BeforeValidator(refuse)


class Columns(Frozen):
    """Which column is what, for parquet, csv and jsonl."""

    input: Column | tuple[Column, ...] | None = None
    """Images: a column of encoded bytes, or the pixel columns in row order. Text: one column.
    A table or a series: its columns (default: all others). Default: "image", or "text"."""
    label: Column | None = "label"
    """None: the rows are unlabelled, for a job's `transfer`."""
    id: Column | None = None
    group: Annotated[None, later("group", None)] = None


class Splits(Frozen):
    """The parts that the source doesn't give are carved from its train rows.

    Per class, rows are ordered by SHA-256 of "{seed}:{row}"; the first
    floor(f*n + 1/2) are test, the next validation.
    """

    validation: Fraction | None = None
    """None: 0.1 where the source gives no validation part."""
    test: Fraction | None = None
    """None: 0.2 where the source gives no test part."""
    seed: Annotated[Int, Field(ge=0, lt=2**31)] = 0
    column: Column | None = None
    """The column whose values are "train", "validation" (or "val") and "test"."""
    folds: Annotated[None, later("folds", None)] = None

    @model_validator(mode="after")
    def _something_is_left_to_train_on(self) -> Splits:
        if (self.validation or 0) + (self.test or 0) >= 1:
            message = "validation and test leave nothing to train on"
            raise ValueError(message)
        return self


class PartSources(Frozen):
    """A source for each part."""

    train: BlobRef | UriRef
    validation: BlobRef | UriRef | None = None
    test: BlobRef | UriRef | None = None


class DatasetSpec(Frozen):
    """A dataset to be taken in."""

    name: Name
    task: Annotated[
        Literal["classification"],
        _one_of(("classification",), ("multilabel", "regression", "causal_lm", "detection")),
    ] = "classification"
    modality: Modality = "image"
    source: BlobRef | UriRef | PartSources
    format: Literal["auto", "npz", "imagefolder", "parquet", "csv", "jsonl"] = "auto"
    columns: Columns = Columns()
    classes: ClassNames | None = None
    input: AnyInput | None = None
    """images: the size they get; a table: its columns, where not every one is to be guessed."""
    splits: Splits = Splits()
    metadata: Metadata = Field(default_factory=dict)

    @model_validator(mode="after")
    def _classes_are_distinct(self) -> DatasetSpec:
        if self.classes is not None and len(set(self.classes)) != len(self.classes):
            message = "'classes' names a class twice"
            raise ValueError(message)
        return self

    @model_validator(mode="after")
    def _the_input_is_of_the_modality(self) -> DatasetSpec:
        if self.input is not None and self.input.modality != self.modality:
            message = f"'input' is for {self.input.modality}, 'modality' is {self.modality}"
            raise ValueError(message)
        return self
