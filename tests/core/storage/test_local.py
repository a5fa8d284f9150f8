"""A folder: its disk fills up, or goes away."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from core import storage as storage_module
from core.storage import LocalStorage
from stillhouse.errors import StorageFull
from tests.core.storage.conftest import CONTENT, SHA, put


@pytest.fixture
def folder(tmp_path: Path) -> LocalStorage:
    return LocalStorage(tmp_path / "storage")


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_files_lie_under_their_hashes_and_nothing_else_stays(folder: LocalStorage) -> None:
    put(folder)
    with contextlib.closing(folder.receive(SHA)) as incoming:
        incoming.write([CONTENT])
    folder.check()
    assert files_below(folder.scratch) == [folder.path(SHA)]
    assert folder.path(SHA).read_bytes() == CONTENT


def test_a_file_is_read_in_chunks(folder: LocalStorage) -> None:
    put(folder)
    pieces = list(folder.read(SHA, 3, len(CONTENT)))
    assert all(len(piece) <= storage_module.CHUNK_BYTES for piece in pieces)


def test_runs_read_where_it_lies(folder: LocalStorage, tmp_path: Path) -> None:
    put(folder)
    folder.fetch(SHA, tmp_path / "inputs")
    assert folder.place(SHA, tmp_path / "inputs") == folder.path(SHA)


def test_an_upload_that_leaves_too_little_room_is_refused_before_it_begins(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    storage = LocalStorage(tmp_path, min_free_bytes=free // 2)
    with pytest.raises(StorageFull):
        storage.receive(SHA, free)
    storage.receive(SHA, 10).close()


def test_an_upload_of_unknown_size_stops_when_room_gets_scarce(folder: LocalStorage) -> None:
    with contextlib.closing(folder.receive(SHA)) as incoming:
        incoming.write([b"a"])
        folder.min_free_bytes = shutil.disk_usage(folder.scratch).free * 2
        with pytest.raises(StorageFull):
            incoming.write([b"b"])


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
        pytest.skip("a file system of a size needs the right to mount one")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_disk_that_fills_up_is_called_full_and_keeps_nothing(tiny_disk: Path) -> None:
    storage = LocalStorage(tiny_disk)
    with pytest.raises(StorageFull):
        put(storage)
    assert files_below(tiny_disk) == []


def test_other_trouble_with_the_disk_keeps_its_name(folder: LocalStorage) -> None:
    missing = folder.scratch / "tmp" / "missing"
    with pytest.raises(FileNotFoundError) as caught:
        folder.adopt(missing, SHA)
    assert caught.value.errno == errno.ENOENT


def test_a_check_says_so_when_the_folder_is_gone(folder: LocalStorage) -> None:
    shutil.rmtree(folder.scratch)
    with pytest.raises(OSError, match="No such file"):
        folder.check()
