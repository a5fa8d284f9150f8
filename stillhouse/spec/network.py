"""Networks and their weights."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, JsonValue, StringConstraints

from stillhouse.spec.base import Frozen, Number, Sha256, not_available


def _family(value: Any) -> Any:
    if value == "onnx":
        raise not_available("the family 'onnx'", "take 'timm', 'transformers' or 'builtin'")
    return value


class NetworkSpec(Frozen):
    """An architecture by family and name; `options` go to its constructor.

    For `transformers` the name is a model type of its configurations ("bert", "distilbert").
    """

    family: Annotated[Literal["timm", "transformers", "builtin"], BeforeValidator(_family)]
    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
    options: Annotated[dict[str, JsonValue], Field(max_length=64)] = Field(default_factory=dict)


Share = Annotated[Number, Field(gt=0, lt=1)]


class Shrink(Frozen):
    """A student by its teacher's architecture, made smaller. Exactly one way."""

    width: Share | None = None
    """Channels, heads and hidden widths that are kept, as a share."""
    depth: Share | None = None
    """Blocks of each stage that are kept, as a share; at least one."""
    parameters: Share | None = None
    """The share of the teacher's parameters to reach, by width."""

    def model_post_init(self, _context: Any, /) -> None:
        """Raise `ValueError` unless one way is named."""
        if sum(value is not None for value in (self.width, self.depth, self.parameters)) != 1:
            message = "shrink takes one of 'width', 'depth' and 'parameters'"
            raise ValueError(message)


class BlobRef(Frozen):
    """Bytes that were uploaded."""

    blob: Sha256


_HUB = re.compile(
    r"^hf://(?:datasets/)?[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(?:@[\w./-]+)?(?:/.+)?$"
)


def _uri(value: Any) -> Any:
    if isinstance(value, str):
        for scheme in ("s3://", "https://", "http://"):
            if value.startswith(scheme):
                raise not_available(f"'{scheme}'", "upload a blob, or name a file:// path")
        if value.startswith("hf://") and not _HUB.match(value):
            message = "a Hub reference is hf://org/name, hf://org/name@revision, or with a /path"
            raise ValueError(message)
    return value


class UriRef(Frozen):
    """A file below one of the service's allowed roots, or a repository of the Hub."""

    uri: Annotated[
        str,
        BeforeValidator(_uri),
        StringConstraints(pattern=r"^(?:file:///|hf://)[^\x00]*$", max_length=4096),
    ]

    @property
    def is_hub(self) -> bool:
        """Whether it names a repository of the Hub."""
        return self.uri.startswith("hf://")


FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]


class FilesRef(Frozen):
    """A Hub folder: `config.json`, `model.safetensors` and what else belongs to it."""

    files: Annotated[dict[FileName, Sha256], Field(min_length=1, max_length=64)]
