"""What a network is fed, by modality. Without the key `modality` it is an image."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Discriminator, Field, StringConstraints, Tag, model_validator

from stillhouse.spec.base import Frozen, Int, Number, Sha256

Modality = Literal["image", "text", "tabular", "sequence"]
Pixels = Annotated[Int, Field(ge=1, le=4096)]
Interpolation = Literal["nearest", "bilinear", "bicubic"]
Positive = Annotated[Number, Field(gt=0)]
ColumnName = Annotated[str, StringConstraints(min_length=1, max_length=256)]


def _check_statistics(mean: Any, std: Any, *, channels: int) -> None:
    for name, values in (("mean", mean), ("std", std)):
        if values is not None and len(values) not in {1, channels}:
            message = f"{name} has {len(values)} values for {channels} channel(s)"
            raise ValueError(message)


class InputSpec(Frozen):
    """Images: pixels in [0, 1], less `mean`, divided by `std`."""

    modality: Literal["image"] = "image"
    size: tuple[Pixels, Pixels]
    """Height, width."""
    channels: Literal["gray", "rgb"] = "rgb"
    mean: tuple[Number, ...] | None = None
    """A value per channel, or one for all; in units of the [0, 1] scale."""
    std: tuple[Positive, ...] | None = None
    interpolation: Interpolation = "bilinear"

    @model_validator(mode="after")
    def _statistics_fit_the_channels(self) -> InputSpec:
        _check_statistics(self.mean, self.std, channels=self.channel_count)
        return self

    @property
    def channel_count(self) -> int:
        """1 for gray, 3 for rgb."""
        return 1 if self.channels == "gray" else 3


class SequenceInput(Frozen):
    """Series of equal length: values less `mean`, divided by `std`."""

    modality: Literal["sequence"]
    length: Annotated[Int, Field(ge=1, le=1_000_000)]
    channels: Annotated[Int, Field(ge=1, le=4096)] = 1
    mean: tuple[Number, ...] | None = None
    """A value per channel, or one for all; in the data's own unit."""
    std: tuple[Positive, ...] | None = None

    @model_validator(mode="after")
    def _statistics_fit_the_channels(self) -> SequenceInput:
        _check_statistics(self.mean, self.std, channels=self.channels)
        return self


class NumberColumn(Frozen):
    """A numeric column; a missing value is NaN."""

    name: ColumnName
    kind: Literal["number"]
    mean: Number = 0.0
    """Of the train part's present values."""
    std: Positive = 1.0


class CategoryColumn(Frozen):
    """A categorical column, stored as the value's number; missing or unseen is -1."""

    name: ColumnName
    kind: Literal["category"]
    values: Annotated[tuple[str, ...], Field(max_length=10_000)] = ()
    """Of the train part, sorted. A dataset's spec may leave them out: intake finds them."""


TableColumn = Annotated[NumberColumn | CategoryColumn, Field(discriminator="kind")]


class TableInput(Frozen):
    """Rows of columns, (columns,) float32 as the dataset stores them.

    The network itself standardises numbers and looks categories up, so that the preprocessing
    travels with it.
    """

    modality: Literal["tabular"]
    columns: Annotated[tuple[TableColumn, ...], Field(min_length=1, max_length=4096)]


TokenizerFile = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]


class TextInput(Frozen):
    """Texts as tokens: ids (max_length,) int32, -1 beyond the end."""

    modality: Literal["text"]
    max_length: Annotated[Int, Field(ge=1, le=131_072)] = 256
    """Tokens; longer texts are cut."""
    tokenizer: Annotated[dict[TokenizerFile, Sha256], Field(max_length=16)] | None = None
    """`tokenizer.json` and the files beside it. Default: the first teacher's."""


def _modality(value: Any) -> str:
    if isinstance(value, dict):
        return str(value.get("modality", "image"))
    return str(getattr(value, "modality", "image"))


AnyInput: TypeAlias = Annotated[
    Annotated[InputSpec, Tag("image")]
    | Annotated[SequenceInput, Tag("sequence")]
    | Annotated[TableInput, Tag("tabular")]
    | Annotated[TextInput, Tag("text")],
    Discriminator(_modality),
]
"""What any network is fed."""
