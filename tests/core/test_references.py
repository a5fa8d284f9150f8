from pathlib import Path

import pytest

from core import references
from core.references import HubRef
from core.settings import Settings
from stillhouse.errors import NotAvailable, PathNotAllowed, ReferenceNotFound, SpecInvalid
from stillhouse.spec import BlobRef, DatasetSpec, NetworkSpec, PartSources, TeacherSpec, UriRef


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
    settings = Settings(allowed_roots=(root,))
    source = PartSources(
        train=UriRef(uri=f"file://{root}/data.npz"), test=UriRef(uri="file:///etc/passwd")
    )
    with pytest.raises(PathNotAllowed):
        references.require_allowed(DatasetSpec(name="d", source=source), settings)
    allowed = DatasetSpec(name="d", source=PartSources(train=source.train))
    references.require_allowed(allowed, settings)
    references.require_allowed(teacher(BlobRef(blob="0" * 64)), settings)


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("hf://org/name", HubRef("model", "org/name", "main", "")),
        ("hf://org/name@v1.0", HubRef("model", "org/name", "v1.0", "")),
        ("hf://datasets/org/name@abc/a/b.csv", HubRef("dataset", "org/name", "abc", "a/b.csv")),
        (
            "hf://datasets/org/name@refs/convert/parquet/x/0.parquet",
            HubRef("dataset", "org/name", "refs/convert/parquet", "x/0.parquet"),
        ),
    ],
)
def test_what_a_hub_uri_names(uri: str, expected: HubRef) -> None:
    assert references.hub(uri) == expected
    assert references.hub(expected.at("f" * 40)).path == expected.path


@pytest.mark.parametrize("uri", ["hf://org/name/../x", "hf://org/name@v/a//b", "hf://org"])
def test_a_hub_uri_leads_nowhere_else(uri: str) -> None:
    with pytest.raises(SpecInvalid):
        references.hub(uri)


def test_a_teacher_is_a_model_and_a_dataset_is_a_file(root: Path) -> None:
    settings = Settings(allowed_roots=(root,))
    references.require_allowed(teacher(UriRef(uri="hf://org/name")), settings)
    source = UriRef(uri="hf://datasets/org/name/a.csv")
    references.require_allowed(DatasetSpec(name="d", source=source), settings)
    with pytest.raises(SpecInvalid, match="a model"):
        references.require_allowed(teacher(source), settings)
    for uri in ("hf://org/name/a.csv", "hf://datasets/org/name"):
        with pytest.raises(SpecInvalid, match="one file"):
            references.require_allowed(DatasetSpec(name="d", source=UriRef(uri=uri)), settings)


def test_an_operator_can_turn_the_hub_off() -> None:
    with pytest.raises(NotAvailable, match="STILLHOUSE_HUB"):
        references.require_allowed(teacher(UriRef(uri="hf://org/name")), Settings(hub="off"))


def teacher(weights: BlobRef | UriRef) -> TeacherSpec:
    return TeacherSpec(name="t", network=NetworkSpec(family="builtin", name="mlp"), weights=weights)
