"""Flags into spec fields: the few spellings that a command line has and JSON doesn't."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer

from stillhouse.spec import pointers

Json = dict[str, Any]


def network(text: str) -> Json:
    """`timm/resnet18` as a network."""
    family, slash, name = text.partition("/")
    if not (family and slash and name):
        raise typer.BadParameter(f"'{text}' is no network; write it as timm/resnet18.")
    return {"family": family, "name": name}


def options(pairs: Sequence[str]) -> Json:
    """`in_chans=1` as a constructor's arguments; values are JSON, or else text."""
    return dict(_pair(pair) for pair in pairs)


def classes(text: str) -> list[str]:
    """`a,b,c`, or `@file` with one class a line."""
    if not text.startswith("@"):
        return [name.strip() for name in text.split(",")]
    try:
        lines = Path(text[1:]).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise typer.BadParameter(f"'{text[1:]}' can't be read: {error}.") from error
    return [line.strip() for line in lines if line.strip()]


def image_input(
    size: str | None, *, gray: bool | None, mean: Sequence[float], std: Sequence[float]
) -> Json | None:
    """`32x32` (height x width) and what goes with it; None when nothing was said."""
    if size is None:
        if gray is not None or mean or std:
            raise typer.BadParameter("--gray, --rgb, --mean and --std need --input, e.g. 32x32.")
        return None
    match = re.fullmatch(r"(\d+)(?:x(\d+))?", size)
    if match is None:
        raise typer.BadParameter(f"'{size}' is no size; write it as 32x32, height by width.")
    height = int(match[1])
    found: Json = {"size": [height, int(match[2] or height)]}
    if gray is not None:
        found["channels"] = "gray" if gray else "rgb"
    return found | present(mean=list(mean) or None, std=list(std) or None)


def trained_on(text: str) -> Json | str:
    """`ds_…:train,validation`, `disjoint` or `unknown`."""
    if text in ("disjoint", "unknown"):
        return text
    dataset, colon, parts = text.partition(":")
    if not (dataset.startswith("ds_") and colon and parts):
        raise typer.BadParameter(f"'{text}' is neither ds_…:train nor disjoint.")
    return {"dataset": dataset, "parts": parts.split(",")}


def object_name(name: str | None, file: Path) -> str:
    """The name given, or the file's, in the characters that names may have."""
    if name is not None:
        return name
    plain = re.sub(r"[^A-Za-z0-9 ,._-]+", "-", file.resolve().stem)
    return plain.lstrip(" ,._-")[:64] or "unnamed"


def place(spec: Json, assignment: str) -> None:
    """Sets `training.batch_size=64`, or `students.0.name=small`, in a spec."""
    path, value = _pair(assignment)
    *way, last = path.split(".")
    here: Any = spec
    for step in way:
        here = here[_index(here, step)] if isinstance(here, list) else here.setdefault(step, {})
        if not isinstance(here, dict | list):
            raise typer.BadParameter(f"'{path}' leads into '{step}', which holds one value.")
    here[_index(here, last) if isinstance(here, list) else last] = value


def teacher(text: str) -> Json:
    """`tch_…`, or `self` for a student that is taught by the one before it."""
    return {"self": {}} if text == "self" else {"id": text}


def sweep(texts: Sequence[str]) -> Json:
    """`objective.0.temperature=1,2,4` as a grid; several make every combination."""
    return {"kind": "grid", "parameters": dict(_values(text) for text in texts)}


def present(**fields: Any) -> Json:
    """The fields that were said."""
    return {key: value for key, value in fields.items() if value is not None}


def _index(items: list[Any], step: str) -> int:
    if not step.isdecimal() or int(step) >= len(items):
        raise typer.BadParameter(f"'{step}' is no index into {len(items)} item(s).")
    return int(step)


def _values(text: str) -> tuple[str, list[Any]]:
    path, value = _pair(text)
    if isinstance(value, str):  # several, which are no JSON without their brackets
        try:
            value = json.loads(f"[{value}]")
        except json.JSONDecodeError:
            value = value.split(",")
    values = value if isinstance(value, list) else [value]
    return pointers.make(tuple(path.split("."))), values


def _pair(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise typer.BadParameter(f"'{text}' is no assignment; write it as key=value.")
    try:
        return key, json.loads(value)
    except json.JSONDecodeError:
        return key, value
