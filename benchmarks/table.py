"""Measured numbers as lines: median, spread and count, and ratios against their bounds."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Measured:
    """Values of one thing, one for each run."""

    name: str
    values: Sequence[float]
    unit: str

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.values)


@dataclass(frozen=True, slots=True)
class Bound:
    """What a number has to be."""

    side: Literal["at least", "at most"]
    value: float


@dataclass(frozen=True, slots=True)
class Finding:
    """A number that has a bound, or is worth a line of its own."""

    name: str
    value: float
    unit: str = ""
    bound: Bound | None = None

    @property
    def holds(self) -> bool:
        """Whether it is within its bound."""
        if self.bound is None:
            return True
        if self.bound.side == "at least":
            return self.value >= self.bound.value
        return self.value <= self.bound.value


@dataclass(frozen=True, slots=True)
class Report:
    """What one benchmark has to say."""

    title: str
    measured: tuple[Measured, ...]
    findings: tuple[Finding, ...]
    note: str = ""

    @property
    def holds(self) -> bool:
        """Whether every bound holds."""
        return all(finding.holds for finding in self.findings)


def ratio(name: str, above: Measured, below: Measured, *, bound: Bound | None = None) -> Finding:
    """The ratio of two medians."""
    return Finding(name, above.median / below.median, "×", bound)


def median(measured: Measured, *, bound: Bound | None = None) -> Finding:
    """A median with a bound."""
    return Finding(measured.name, measured.median, measured.unit, bound)


def show(report: Report) -> None:
    """Print a report as Markdown."""
    print(f"\n## {report.title}\n")
    if report.note:
        print(f"{report.note}\n")
    print("| measured | median | lowest | highest | runs |\n|---|---|---|---|---|")
    for item in report.measured:
        low, high = min(item.values), max(item.values)
        cells = " | ".join(f"{_short(value)} {item.unit}" for value in (item.median, low, high))
        print(f"| {item.name} | {cells} | {len(item.values)} |")
    print("\n| finding | value | bound | |\n|---|---|---|---|")
    for finding in report.findings:
        bound = f"{finding.bound.side} {_short(finding.bound.value)}" if finding.bound else ""
        verdict = ("holds" if finding.holds else "**missed**") if finding.bound else ""
        print(f"| {finding.name} | {_short(finding.value)} {finding.unit} | {bound} | {verdict} |")


def _short(value: float) -> str:
    return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
