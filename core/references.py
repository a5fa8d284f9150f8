"""References to what isn't uploaded: file:// below the operator's roots, hf:// if it's allowed."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import unquote, urlsplit

from core.settings import Settings
from stillhouse.errors import NotAvailable, PathNotAllowed, ReferenceNotFound, SpecInvalid
from stillhouse.spec import DatasetSpec, PartSources, TeacherSpec, UriRef

# Only the Hub's own references have slashes in a revision's name; others escape them.
_HUB = re.compile(
    r"hf://(?P<dataset>datasets/)?(?P<repo>[^/@]+/[^/@]+)"
    r"(?:@(?P<revision>refs/[^/]+/[^/]+|[^/]+))?(?:/(?P<path>.+))?"
)


@dataclass(frozen=True, slots=True)
class HubRef:
    """What an hf:// URI names."""

    kind: Literal["model", "dataset"]
    repo: str
    """owner/name."""
    revision: str
    """A branch, a tag or a commit."""
    path: str
    """A file or folder of the repository; empty: its root."""

    def at(self, commit: str) -> str:
        """The URI of the same files in one commit, which no push changes."""
        prefix = "datasets/" if self.kind == "dataset" else ""
        return f"hf://{prefix}{self.repo}@{commit}" + (f"/{self.path}" if self.path else "")


def require_allowed(spec: TeacherSpec | DatasetSpec, settings: Settings) -> None:
    """Check every URI that a spec names.

    Raises `PathNotAllowed` or `ReferenceNotFound` as `resolve` does; `NotAvailable` if the
    operator allows no hf://; `SpecInvalid` if one names the other kind of repository.
    """
    for reference in _references(spec):
        if not reference.is_hub:
            resolve(reference.uri, settings.roots)
            continue
        if settings.hub == "off":
            raise NotAvailable(
                "This service reads nothing from the Hub (STILLHOUSE_HUB); upload the files.",
                field="uri",
            )
        _require_kind(hub(reference.uri), spec)


def hub(uri: str) -> HubRef:
    """What an hf:// URI names; raises `SpecInvalid` if it isn't one."""
    found = _HUB.fullmatch(uri)
    path = (found and found["path"]) or ""
    if found is None or any(step in ("", ".", "..") for step in path.split("/") if path):
        raise SpecInvalid(f"{uri} is no hf://owner/name@revision/path.", field="uri")
    kind: Literal["model", "dataset"] = "dataset" if found["dataset"] else "model"
    return HubRef(kind, found["repo"], found["revision"] or "main", path)


def resolve(uri: str, roots: tuple[Path, ...]) -> Path:
    """The real path of a file:// URI.

    Raises `PathNotAllowed` if it lies outside the roots, links followed; `ReferenceNotFound` if
    it isn't there.
    """
    try:
        real = Path(unquote(urlsplit(uri).path)).resolve()
    except (ValueError, OSError, RuntimeError) as error:  # a NUL, or links in a circle
        raise ReferenceNotFound(f"There is no {uri}.", field="uri") from error
    if not any(real.is_relative_to(root.resolve()) for root in roots):
        allowed = ", ".join(str(root) for root in roots)
        raise PathNotAllowed(
            f"file:// may name what lies below {allowed} (STILLHOUSE_ALLOWED_ROOTS).", field="uri"
        )
    if not _exists(real):
        raise ReferenceNotFound(f"There is no {uri}.", field="uri")
    return real


def _require_kind(named: HubRef, spec: TeacherSpec | DatasetSpec) -> None:
    if isinstance(spec, TeacherSpec) and named.kind == "dataset":
        raise SpecInvalid("A teacher is a model: hf://owner/name@revision.", field="uri")
    if isinstance(spec, DatasetSpec) and not (named.kind == "dataset" and named.path):
        raise SpecInvalid(
            "A dataset is one file: hf://datasets/owner/name@revision/path/to/file.", field="uri"
        )


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that no file system takes, or a folder that is not ours to read
        return False


def _references(spec: TeacherSpec | DatasetSpec) -> Iterator[UriRef]:
    source = spec.weights if isinstance(spec, TeacherSpec) else spec.source
    if isinstance(source, UriRef):
        yield source
    elif isinstance(source, PartSources):
        parts = (source.train, source.validation, source.test)
        yield from (part for part in parts if isinstance(part, UriRef))
