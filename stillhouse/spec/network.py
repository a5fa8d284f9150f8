"""Networks, their input and their weights."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, JsonValue, StringConstraints, model_validator

from stillhouse.spec.base import Frozen, Int, Number, Sha256, not_available

Pixels = Annotated[Int, Field(ge=1, le=4096)]
Interpolation = Literal["nearest", "bilinear", "bicubic"]


class InputSpec(Frozen):
    """What a network is fed: pixels in [0, 1], less `mean`, divided by `std`."""

    size: tuple[Pixels, Pixels]
    """Height, width."""
    channels: Literal["gray", "rgb"] = "rgb"
    mean: tuple[Number, ...] | None = None
    """A value per channel, or one for all; in units of the [0, 1] scale."""
    std: tuple[Annotated[Number, Field(gt=0)], ...] | None = None
    interpolation: Interpolation = "bilinear"

    @model_validator(mode="after")
    def _statistics_fit_the_channels(self) -> InputSpec:
        allowed = {1, self.channel_count}
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is not None and len(values) not in allowed:
                message = f"{name} has {len(values)} values for {self.channel_count} channel(s)"
                raise ValueError(message)
        return self

    @property
    def channel_count(self) -> int:
        """1 for gray, 3 for rgb."""
        return 1 if self.channels == "gray" else 3


def _family(value: Any) -> Any:
    if value in ("transformers", "outputs", "onnx"):
        raise not_available(f"the family '{value}'", "take 'timm' or 'builtin'")
    return value


class NetworkSpec(Frozen):
    """An architecture by family and name; `options` go to its constructor."""

    family: Annotated[Literal["timm", "builtin"], BeforeValidator(_family)]
    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
    options: Annotated[dict[str, JsonValue], Field(max_length=64)] = Field(default_factory=dict)


class BlobRef(Frozen):
    """Bytes that were uploaded."""

    blob: Sha256


def _uri(value: Any) -> Any:
    if isinstance(value, str):
        for scheme in ("hf://", "s3://", "https://", "http://"):
            if value.startswith(scheme):
                raise not_available(f"'{scheme}'", "upload a blob, or name a file:// path")
    return value


class UriRef(Frozen):
    """A file below one of the service's allowed roots."""

    uri: Annotated[
        str,
        BeforeValidator(_uri),
        StringConstraints(pattern=r"^file:///[^\x00]*$", max_length=4096),
    ]


FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]


class FilesRef(Frozen):
    """A Hub folder: `config.json`, `model.safetensors` and what else belongs to it."""

    files: Annotated[dict[FileName, Sha256], Field(min_length=1, max_length=64)]
