"""What pydantic found wrong, in words that say what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from functools import cache
from typing import Any

from stillhouse.spec import DatasetSpec, JobSpec, TeacherSpec

_IDS = {"tch_": "a teacher", "ds_": "a dataset", "job_": "a job"}


def sentence(item: Any) -> str:
    """One finding as a sentence."""
    message = str(item["msg"]).removeprefix("Value error, ")
    context = item.get("ctx") or {}
    match item["type"]:
        case "extra_forbidden":
            return "unknown field" + _suggest(str(item["loc"][-1]))
        case "missing":
            return "is required"
        case "union_tag_invalid":
            return f"unknown kind '{context.get('tag')}'; take one of {context['expected_tags']}"
        case "string_pattern_mismatch":
            pattern = str(context.get("pattern", ""))
            for prefix, what in _IDS.items():
                if pattern.startswith(f"^{prefix}"):
                    return f"must be the id of {what} ({prefix}…)"
    return message


def _suggest(name: str) -> str:
    close = difflib.get_close_matches(name, _fields(), n=1, cutoff=0.75)
    if not close:
        return ""
    return f"; did you mean '{_fields()[close[0]]}'?"


@cache
def _fields() -> dict[str, str]:
    """Every field's name and, where it's nested, the path to it."""
    found: dict[str, str] = {}
    for spec in (JobSpec, TeacherSpec, DatasetSpec):
        schema = spec.model_json_schema()
        for name, path in _walk(schema, schema.get("$defs", {}), ""):
            found.setdefault(name, path)
    return found


def _walk(
    schema: dict[str, Any], definitions: dict[str, Any], prefix: str
) -> Iterator[tuple[str, str]]:
    properties = schema.get("properties", {})
    for name in properties:
        yield name, prefix + name
    for name, field in properties.items():
        reference = str(field.get("$ref", "")).rpartition("/")[2]
        if reference:
            yield from _walk(definitions[reference], definitions, f"{prefix}{name}.")
