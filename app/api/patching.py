"""What PATCH may change: the user's own words, and a waiting job's priority."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from core.tables import Dataset, Job, Student, Teacher
from stillhouse.spec import Frozen, Metadata, Name


class Changes(Frozen):
    """New values; what isn't named stays."""

    name: Name | None = None
    metadata: Metadata | None = None


class JobChanges(Changes):
    """A job's priority, too."""

    priority: Annotated[int, Field(ge=-100, le=100)] | None = None


def apply(row: Teacher | Dataset | Job | Student, changes: Changes) -> None:
    """Write the changes and a new version."""
    if changes.name is not None:
        row.name = changes.name
    if changes.metadata is not None:
        row.labels = dict(changes.metadata)
    row.version += 1
