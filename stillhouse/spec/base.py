"""What every spec shares: frozen, strict about keys and numbers, honest about what isn't built."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError


class Frozen(BaseModel):
    """Immutable; an unknown key is an error (a typo must not become a default)."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, populate_by_name=True, strict=False
    )


def _not_a_bool(value: Any) -> Any:
    if isinstance(value, bool | str):
        raise PydanticCustomError("number_type", "Input should be a number")
    return value


Int = Annotated[int, BeforeValidator(_not_a_bool)]
Number = Annotated[float, BeforeValidator(_not_a_bool)]
Seed = Annotated[Int, Field(ge=0, lt=2**31)]
Auto = Literal["auto"]

# The contract's rule and the comma, which its own example uses.
Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ,._-]{0,63}$")]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Metadata = Annotated[
    dict[
        Annotated[str, StringConstraints(min_length=1, max_length=64)],
        Annotated[str, StringConstraints(max_length=512)],
    ],
    Field(max_length=16),
]
ClassNames = Annotated[
    tuple[Annotated[str, StringConstraints(min_length=1, max_length=256)], ...],
    Field(min_length=1, max_length=100_000),
]


def not_available(what: str, instead: str = "") -> PydanticCustomError:
    """An error that the API answers with the code `not_available`."""
    message = f"{what} is not available yet" + (f"; {instead}" if instead else "")
    # Braces in user text must not be read as a template.
    return PydanticCustomError("not_available", "{message}", {"message": message})


def later(what: str, nothing: Any) -> BeforeValidator:
    """A field that the contract names and we don't have: only `nothing` (or "auto") passes."""

    def refuse(value: Any) -> Any:
        asked = list(value) if isinstance(value, tuple) else value
        if asked not in (nothing, "auto"):
            raise not_available(f"'{what}'")
        return nothing

    return BeforeValidator(refuse)
