"""What the client puts into a request: addresses, parameters and bodies."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from stillhouse import errors

_KINDS = {
    "tch": "teachers",
    "ds": "datasets",
    "job": "jobs",
    "stu": "students",
    "wrk": "workers",
    "key": "keys",
}


def path(identifier: str) -> str:
    """The address of an object; an id that could name another path raises SpecInvalid."""
    prefix = identifier.partition("_")[0]
    if prefix not in _KINDS or not identifier.replace("_", "").isalnum():
        raise errors.SpecInvalid(f"'{identifier}' is not the id of anything here.")
    return f"/v1/{_KINDS[prefix]}/{identifier}"


def present(**params: Any) -> dict[str, Any]:
    """The parameters that were given."""
    return {key: value for key, value in params.items() if value is not None}


def body(spec: BaseModel | Mapping[str, Any]) -> dict[str, Any]:
    """A spec as JSON, with only what was said: the service's defaults are newer than ours."""
    if isinstance(spec, BaseModel):
        return spec.model_dump(mode="json", exclude_unset=True)
    return dict(spec)
