"""Real text and real tables without a download: the Python files of installed packages."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

PACKAGES = ("numpy", "pandas", "scipy", "sklearn", "torch", "transformers")
"""The classes: which package a file or a docstring is of."""
_MAX_BYTES = 200_000


def files(package: str) -> list[Path]:
    """A package's Python files, in the order of their names, without those of its tests."""
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(package)
    root = Path(spec.submodule_search_locations[0])
    found = (path for path in root.rglob("*.py") if path.stat().st_size <= _MAX_BYTES)
    return sorted(path for path in found if "test" not in str(path.relative_to(root)))


def modules(package: str, *, most: int = 250) -> Iterator[tuple[str, ast.Module]]:
    """The text and the syntax tree of `most` files, evenly over the package, that can be parsed."""
    found = files(package)
    for path in found[:: max(len(found) // most, 1)][:most]:
        try:
            text = path.read_text(encoding="utf-8")
            yield text, ast.parse(text)
        except (SyntaxError, ValueError):
            continue


def docstrings(tree: ast.Module) -> Iterator[str]:
    """What the functions and classes of a file say of themselves."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            text = ast.get_docstring(node)
            if text:
                yield text
