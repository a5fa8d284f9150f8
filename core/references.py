"""file:// references: only below the roots that the operator allowed, never through a link out."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from stillhouse.errors import PathNotAllowed, ReferenceNotFound
from stillhouse.spec import BlobRef, FilesRef, PartSources, UriRef


def require_allowed(
    source: BlobRef | UriRef | FilesRef | PartSources | None, roots: tuple[Path, ...]
) -> None:
    """Check every file:// that a spec names.

    Raises `PathNotAllowed` if one lies outside the roots; `ReferenceNotFound` if one isn't
    there.
    """
    for reference in _references(source):
        resolve(reference.uri, roots)


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


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name that no file system takes, or a folder that is not ours to read
        return False


def _references(source: BlobRef | UriRef | FilesRef | PartSources | None) -> Iterator[UriRef]:
    if isinstance(source, UriRef):
        yield source
    elif isinstance(source, PartSources):
        parts = (source.train, source.validation, source.test)
        yield from (part for part in parts if isinstance(part, UriRef))
