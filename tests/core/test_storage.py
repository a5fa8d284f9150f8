import errno
import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from core import storage as storage_module
from core.storage import Storage
from stillhouse.errors import DigestMismatch, StorageFull

CONTENT = os.urandom(3 * 1024 * 1024 + 17)
SHA = hashlib.sha256(CONTENT).hexdigest()


def files_below(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_file_is_not_there_until_it_is_whole(storage: Storage) -> None:
    with storage.receive(len(CONTENT)) as incoming:
        incoming.write([CONTENT[:1000]])
        assert not storage.has(SHA)
        incoming.write([CONTENT[1000:2000], CONTENT[2000:]])
        assert not storage.has(SHA)
        incoming.keep(SHA)
        assert storage.has(SHA)
    assert storage.path(SHA).read_bytes() == CONTENT
    assert incoming.bytes == len(CONTENT)
    assert files_below(storage.root) == [storage.path(SHA)]


def test_another_digest_keeps_nothing(storage: Storage) -> None:
    with storage.receive() as incoming:
        incoming.write([CONTENT[:-1]])
        with pytest.raises(DigestMismatch, match=SHA):
            incoming.keep(SHA)
    assert files_below(storage.root) == []


def test_what_breaks_off_keeps_nothing(storage: Storage) -> None:
    def break_off() -> None:
        with storage.receive() as incoming:
            incoming.write([CONTENT])
            raise RuntimeError

    with pytest.raises(RuntimeError):
        break_off()
    assert files_below(storage.root) == []


def test_an_upload_that_leaves_too_little_room_is_refused_before_it_begins(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    storage = Storage(tmp_path, min_free_bytes=free // 2)
    with pytest.raises(StorageFull):
        storage.receive(free)
    with storage.receive(10):
        pass


def test_an_upload_of_unknown_size_stops_when_room_gets_scarce(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    with storage.receive() as incoming:
        incoming.write([b"a"])
        storage.min_free_bytes = shutil.disk_usage(tmp_path).free * 2
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
    storage = Storage(tiny_disk)
    with pytest.raises(StorageFull), storage.receive() as incoming:
        incoming.write([CONTENT])
    assert files_below(tiny_disk) == []


def test_other_trouble_with_the_disk_keeps_its_name(storage: Storage) -> None:
    missing = storage.root / "tmp" / "missing"
    with pytest.raises(FileNotFoundError) as caught:
        storage.adopt(missing, SHA)
    assert caught.value.errno == errno.ENOENT


def test_an_adopted_file_moves(storage: Storage) -> None:
    made = storage.root / "work" / "made"
    made.write_bytes(CONTENT)
    assert storage_module.digest(made) == (SHA, len(CONTENT))
    storage.adopt(made, SHA)
    assert not made.exists()
    assert storage.path(SHA).read_bytes() == CONTENT


@pytest.mark.parametrize(
    ("start", "end"), [(0, len(CONTENT)), (5, 6), (1024 * 1024 - 1, 2 * 1024 * 1024 + 1), (7, 7)]
)
def test_a_range_is_read_as_it_stands(storage: Storage, start: int, end: int) -> None:
    with storage.receive() as incoming:
        incoming.write([CONTENT])
        incoming.keep(SHA)
    pieces = list(storage.read(SHA, start, end))
    assert b"".join(pieces) == CONTENT[start:end]
    assert all(len(piece) <= storage_module.CHUNK_BYTES for piece in pieces)


def test_deleting_what_is_not_there_is_fine(storage: Storage) -> None:
    storage.delete(SHA)
    assert not storage.has(SHA)


def test_a_check_leaves_nothing(storage: Storage) -> None:
    storage.check()
    assert files_below(storage.root) == []


def test_a_check_says_so_when_the_folder_is_gone(storage: Storage) -> None:
    shutil.rmtree(storage.root)
    with pytest.raises(OSError, match="No such file"):
        storage.check()
