"""Write what each image installs, as parts of constraints.txt: `python -m deploy.pins`.

pip checks hashes only if every requirement has one, so an image's list is the whole closure of an
extra of pyproject.toml, with the pins that everybody else has.
"""  # noqa: INP001 - one script beside files that are no Python

from __future__ import annotations

import platform
import re
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
EXTRAS = {"api": "server", "worker": "worker"}
"""Which extra of pyproject.toml an image is."""
PINNED = (ROOT / "constraints.txt", ROOT / "deploy" / "older-python.txt")
PYTHONS = (platform.python_version(), "3.11.0")
"""Which Python an image has is its builder's choice."""


def main() -> None:
    """Write `deploy/requirements-<image>.txt` for each image."""
    for image in EXTRAS:
        place(image).write_text(requirements(image))


def place(image: str) -> Path:
    """Where an image's requirements are."""
    return ROOT / "deploy" / f"requirements-{image}.txt"


def requirements(image: str) -> str:
    """The pins of an image, sorted; raises `KeyError` if a package that it needs isn't pinned."""
    pins = {name: block for path in PINNED for name, block in pinned(path.read_text()).items()}
    title = f"# What the image `{image}` installs: a part of constraints.txt, made by `make lock`."
    names = sorted(closure(EXTRAS[image]) - {"stillhouse"})
    return "\n".join([title, *(pins[name] for name in names)]) + "\n"


def pinned(text: str) -> dict[str, str]:
    """Each package's lines of a file of pins, by its name."""
    blocks = re.findall(r"^[a-z0-9].*(?:\n[ ].*)*", text, re.MULTILINE)
    return {canonicalize_name(block.split("==")[0]): block for block in blocks}


def closure(extra: str) -> set[str]:
    """All packages of an extra of ours, as they are installed here: for this platform."""
    ours = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    seen = {("stillhouse", "")}
    waiting = [Requirement(line) for line in (f"stillhouse[{extra}]", *ours["dependencies"])]
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        for wanted in {"", *requirement.extras}:
            if (name, wanted) in seen:
                continue
            seen.add((name, wanted))
            own = ours["optional-dependencies"].get(wanted) if name == "stillhouse" else None
            waiting += _applying(own or _requires(name), extra=wanted)
    return {name for name, _ in seen}


def _requires(name: str) -> list[str]:
    try:
        return metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        return []  # for an older Python than this one


def _applying(lines: list[str], *, extra: str) -> Iterator[Requirement]:
    for line in lines:
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is None or any(
            marker.evaluate({"extra": extra, "python_full_version": version}) for version in PYTHONS
        ):
            yield requirement


if __name__ == "__main__":
    main()
