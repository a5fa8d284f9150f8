from pathlib import Path

import pytest

from core import references
from stillhouse.errors import PathNotAllowed, ReferenceNotFound
from stillhouse.spec import PartSources, UriRef


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "imports"
    folder.mkdir()
    (folder / "data.npz").write_bytes(b"x")
    (tmp_path / "secret").write_bytes(b"s")
    (folder / "out").symlink_to(tmp_path / "secret")
    (folder / "in").symlink_to(folder / "data.npz")
    (folder / "round").symlink_to(folder / "round")
    (tmp_path / "imports-of-others").mkdir()
    return folder


def test_what_lies_below_a_root_is_found(root: Path) -> None:
    assert references.resolve(f"file://{root}/data.npz", (root,)) == root / "data.npz"
    assert references.resolve(f"file://{root}/in", (root,)) == root / "data.npz"
    assert references.resolve(f"file://{root}/d%61ta.npz", (root,)) == root / "data.npz"
    assert references.resolve(f"file://{root}", (root,)) == root


@pytest.mark.parametrize(
    "path",
    ["/../secret", "/%2e%2e/secret", "/..%2fsecret", "/out", "/../imports-of-others", "/../gone"],
)
def test_no_way_leads_out(root: Path, path: str) -> None:
    with pytest.raises(PathNotAllowed, match="STILLHOUSE_ALLOWED_ROOTS"):
        references.resolve(f"file://{root}{path}", (root,))


@pytest.mark.parametrize(
    "path", ["/missing", "/round", "/a%00b", "/" + "n" * 300, "/data.npz/below"]
)
def test_what_cannot_be_there_is_not_found(root: Path, path: str) -> None:
    with pytest.raises(ReferenceNotFound):
        references.resolve(f"file://{root}{path}", (root,))


def test_each_part_of_a_source_is_checked(root: Path) -> None:
    source = PartSources(
        train=UriRef(uri=f"file://{root}/data.npz"), test=UriRef(uri="file:///etc/passwd")
    )
    with pytest.raises(PathNotAllowed):
        references.require_allowed(source, (root,))
    references.require_allowed(PartSources(train=source.train), (root,))
    references.require_allowed(None, ())
