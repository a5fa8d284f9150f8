"""Compose files as `docker compose config` shows them: interpolated and merged."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
REPLACED = {"command", "entrypoint", "test"}
"""Lists of which the later file's stands alone; others are added up."""
RESET = object()
VARIABLE = re.compile(r"\$(?:\$|\{(?P<name>\w+)(?P<kind>:?[-?])?(?P<rest>[^}]*)\})")


class _Loader(yaml.SafeLoader):
    """Knows `!reset`, which takes back what a file before it says."""


_Loader.add_constructor("!reset", lambda _loader, _node: RESET)


def render(*names: str, environment: Mapping[str, str] | None = None) -> dict[str, Any]:
    """The files, merged in their order; raises `KeyError` for a variable that must be set."""
    made: dict[str, Any] = {}
    for name in names:
        loaded = yaml.load((ROOT / name).read_text(), Loader=_Loader)  # noqa: S506 - a safe one
        made = _merged(made, _interpolated(loaded, environment or {}))
    return {key: value for key, value in made.items() if not key.startswith("x-")}


def services(made: dict[str, Any], profile: str | None = None) -> dict[str, dict[str, Any]]:
    """The services that start with a profile, or without one."""
    chosen: dict[str, dict[str, Any]] = {}
    for name, service in made["services"].items():
        profiles = service.get("profiles", [])
        if not profiles or profile in profiles:
            chosen[name] = service
    return chosen


def variables(name: str) -> Iterator[tuple[str, str]]:
    """Each variable that a file reads, with its default."""
    for found in VARIABLE.finditer((ROOT / name).read_text()):
        if found["name"]:
            yield found["name"], found["rest"]


def _interpolated(value: Any, environment: Mapping[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _interpolated(item, environment) for key, item in value.items()}
    if isinstance(value, list):
        return [_interpolated(item, environment) for item in value]
    if isinstance(value, str):
        return VARIABLE.sub(lambda found: _chosen(found, environment), value)
    return value


def _chosen(found: re.Match[str], environment: Mapping[str, str]) -> str:
    if not found["name"]:
        return "$"
    kind = found["kind"] or ""
    if environment.get(found["name"]) or (
        not kind.startswith(":") and found["name"] in environment
    ):
        return environment[found["name"]]
    if not kind.endswith("-"):
        raise KeyError(found["name"])
    return found["rest"]


def _merged(below: Any, above: Any) -> Any:
    if isinstance(below, dict) and isinstance(above, dict):
        both = below | above
        for key in below.keys() & above.keys():
            both[key] = above[key] if key in REPLACED else _merged(below[key], above[key])
            if key == "volumes" and isinstance(above[key], list):
                both[key] = _last_of_each_place(both[key])
        return {key: value for key, value in both.items() if value is not RESET}
    if isinstance(below, list) and isinstance(above, list):
        return below + above
    return above


def _last_of_each_place(mounts: list[str]) -> list[str]:
    """Two mounts at one place in a container are one: the later file's."""
    return list({mount.split(":")[1]: mount for mount in mounts}.values())
