"""What every storage does, whether it is a folder or a bucket."""

from __future__ import annotations

import contextlib
import hashlib
import time
from pathlib import Path

import pytest

from core import storage as storage_module
from core.settings import Settings
from core.storage import Gone, LocalStorage, Storage
from stillhouse.errors import DigestMismatch
from tests.core.storage.conftest import CONTENT, SHA, everything, put


def test_a_file_is_not_there_until_it_is_whole(storage: Storage) -> None:
    with contextlib.closing(storage.receive(SHA, len(CONTENT))) as incoming:
        incoming.write([CONTENT[:1000]])
        assert not storage.has(SHA)
        incoming.write([CONTENT[1000:2000], CONTENT[2000:]])
        assert not storage.has(SHA)
        incoming.keep()
        assert storage.has(SHA)
    assert storage.has(SHA)
    assert b"".join(storage.read(SHA, 0, len(CONTENT))) == CONTENT
    assert incoming.size == len(CONTENT)
    assert everything(storage) == [SHA]


@pytest.mark.parametrize("size", [100, len(CONTENT) - 1])
def test_another_digest_keeps_nothing(storage: Storage, size: int) -> None:
    with contextlib.closing(storage.receive(SHA)) as incoming:
        incoming.write([CONTENT[:size]])
        with pytest.raises(DigestMismatch, match=SHA):
            incoming.keep()
    assert not storage.has(SHA)
    assert everything(storage) == []


@pytest.mark.parametrize("size", [0, 100, len(CONTENT)])
def test_what_breaks_off_keeps_nothing(storage: Storage, size: int) -> None:
    with contextlib.closing(storage.receive(SHA)) as incoming:
        incoming.write([CONTENT[:size]])
    assert not storage.has(SHA)
    assert everything(storage) == []


def test_an_empty_file_is_a_file(storage: Storage, tmp_path: Path) -> None:
    empty = put(storage, b"")
    assert storage.has(empty)
    assert list(storage.read(empty, 0, 0)) == []
    storage.fetch(empty, tmp_path / "inputs")
    assert storage.place(empty, tmp_path / "inputs").read_bytes() == b""


@pytest.mark.parametrize("content", [CONTENT, CONTENT[:1000]], ids=["large", "small"])
def test_an_adopted_file_moves_and_is_there_for_the_next_run(
    storage: Storage, tmp_path: Path, content: bytes
) -> None:
    made = storage.scratch / "work" / "run" / "made"
    made.parent.mkdir(parents=True)
    made.write_bytes(content)
    sha256, size = storage_module.digest(made)
    assert (sha256, size) == (hashlib.sha256(content).hexdigest(), len(content))
    for _ in range(2):  # whoever makes the same bytes again does no harm
        made.write_bytes(content)
        storage.adopt(made, sha256)
        assert not made.exists()
    assert b"".join(storage.read(sha256, 0, size)) == content
    storage.fetch(sha256, tmp_path / "inputs")
    assert storage.place(sha256, tmp_path / "inputs").read_bytes() == content


@pytest.mark.parametrize(
    ("start", "end"), [(0, len(CONTENT)), (5, 6), (1024 * 1024 - 1, 2 * 1024 * 1024 + 1), (7, 7)]
)
def test_a_range_is_read_as_it_stands(storage: Storage, start: int, end: int) -> None:
    put(storage)
    assert b"".join(storage.read(SHA, start, end)) == CONTENT[start:end]


def test_many_are_deleted_at_once_and_what_is_not_there_is_fine(storage: Storage) -> None:
    hashes = [put(storage, bytes([number])) for number in range(5)]
    storage.delete(*hashes[1:], SHA)
    assert everything(storage) == hashes[:1]
    storage.delete()


def test_what_is_gone_says_so(storage: Storage, tmp_path: Path) -> None:
    with pytest.raises(Gone, match=SHA):
        storage.fetch(SHA, tmp_path / "inputs")
    with pytest.raises(FileNotFoundError):
        list(storage.read(SHA, 0, 1))


@pytest.mark.parametrize(
    "name", ["../../secret", SHA.upper(), SHA[:-1], f"{SHA}/x", f"{SHA}\n", ""]
)
def test_only_a_hash_leads_to_a_file(storage: Storage, tmp_path: Path, name: str) -> None:
    secret = tmp_path / "storage" / "secret"
    secret.parent.mkdir(exist_ok=True)
    secret.write_text("s")
    for act in (
        lambda: storage.has(name), lambda: storage.delete(name), lambda: storage.receive(name),
        lambda: list(storage.read(name, 0, 1)), lambda: storage.fetch(name, tmp_path / "inputs"),
        lambda: storage.link(name, seconds=60) or storage.place(name, tmp_path),
    ):  # fmt: skip
        with pytest.raises(ValueError, match="is no SHA-256"):
            act()
    assert secret.exists()


def test_names_can_be_those_of_old_files_only(storage: Storage) -> None:
    put(storage)
    assert everything(storage) == [SHA]
    assert [name for batch in storage.names(before=time.time() - 3600) for name in batch] == []


def test_only_a_bucket_can_be_linked_to(storage: Storage) -> None:
    put(storage)
    is_folder = isinstance(storage, LocalStorage)
    assert (storage.link(SHA, seconds=60) is None) == is_folder


def test_a_check_leaves_no_file(storage: Storage) -> None:
    storage.check()
    storage.prepare()
    assert everything(storage) == []


@pytest.mark.parametrize("url", ["s3://", "s3:///prefix", "s3://UPPER/x", "file://host/x", "x"])
def test_what_names_no_storage_is_refused_with_advice(url: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must be file:///folder or s3://bucket/prefix"):
        storage_module.open_storage(Settings(data_dir=tmp_path, storage_url=url))


def test_a_folder_can_be_named(tmp_path: Path) -> None:
    opened = storage_module.open_storage(Settings(storage_url=f"file://{tmp_path}/my%20files"))
    assert isinstance(opened, LocalStorage)
    assert opened.scratch == tmp_path / "my%20files"
