"""A table of real files: which package is a Python file of? `python -m … FOLDER`.

Writes `files.csv`: numbers, categories and missing values, as tables have them.
"""

from __future__ import annotations

import ast
import csv
import statistics
import sys
import warnings
from pathlib import Path

from examples.text import sources

Row = dict[str, str | int | float | None]


def write(folder: Path, *, rows: int = 250) -> None:
    """Write the table.

    Args:
        folder: Where `files.csv` goes.
        rows: At most so many files of each package, evenly over it.
    """
    table: list[Row] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of other people's escape sequences
        for package in sources.PACKAGES:
            found = [
                _describe(text, tree) for text, tree in sources.modules(package, most=rows) if text
            ]
            table += [row | {"label": package} for row in found]
    with (folder / "files.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(table[0]))
        writer.writeheader()
        writer.writerows(table)


def _describe(text: str, tree: ast.Module) -> Row:
    lines = text.splitlines()
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    docstrings = list(sources.docstrings(tree))
    return {
        "lines": len(lines),
        "line_length": round(statistics.fmean(map(len, lines)), 2),
        "blank_share": round(sum(not line.strip() for line in lines) / len(lines), 4),
        "functions": len(functions),
        "classes": sum(isinstance(node, ast.ClassDef) for node in tree.body),
        "imports": sum(isinstance(node, ast.Import | ast.ImportFrom) for node in tree.body),
        # Missing where there is nothing to average.
        "docstring_words": _mean([len(text.split()) for text in docstrings]),
        "arguments": _mean([len(node.args.args) for node in functions]),
        "annotated": _mean([float(node.returns is not None) for node in functions]),
        "first_line": _first(lines[0]),
        "first_statement": type(tree.body[0]).__name__ if tree.body else "",
        "quotes": "double" if text.count('"') >= text.count("'") else "single",
    }


def _first(line: str) -> str:
    for start, name in (("#!", "program"), ("#", "comment"), ('"""', "docstring")):
        if line.lstrip("rR").startswith(start):
            return name
    word = line.partition(" ")[0]
    return word if word in ("from", "import") else "other"


def _mean(values: list[int] | list[float]) -> float | None:
    return round(statistics.fmean(values), 3) if values else None


if __name__ == "__main__":
    write(Path(sys.argv[1]))
