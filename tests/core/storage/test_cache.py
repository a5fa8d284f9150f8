"""A host's cache: what is fetched once is there for all its runs, and never goes from under one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

import pytest

from core.settings import Settings
from core.storage import Storage, open_storage
from core.storage.cache import Cache
from stillhouse.errors import Unavailable
from tests import servers
from tests.core.storage.conftest import CONTENT, SHA, open_bucket, put
from tests.object_store import ObjectStore

KIB = 1024


def gets(s3: ObjectStore, sha256: str) -> int:
    """How often a file was downloaded."""
    return sum(asked.startswith("GET") and asked.endswith(sha256) for asked in s3.asked)


def cached(host: Path) -> set[str]:
    return {path.name for path in (host / "cache").glob("??/*") if path.name != "lock"}


@pytest.fixture
def uploaded(bucket_url: str, tmp_path: Path) -> list[str]:
    """Five files of 10 KiB in the bucket, put there by somebody else."""
    elsewhere = open_bucket(tmp_path / "elsewhere", bucket_url)
    return [put(elsewhere, bytes([number]) * 10 * KIB) for number in range(5)]


def bring(storage: Storage, sha256: str, folder: Path) -> Path:
    storage.fetch(sha256, folder)
    return storage.place(sha256, folder)


def test_the_second_run_of_a_host_downloads_nothing(
    s3: ObjectStore, bucket_url: str, uploaded: list[str], tmp_path: Path
) -> None:
    host = tmp_path / "host"
    for run in ("one", "two", "two"):
        storage = open_bucket(host, bucket_url)
        assert bring(storage, uploaded[0], host / "work" / run).stat().st_size == 10 * KIB
    assert gets(s3, uploaded[0]) == 1


def test_what_this_host_made_it_needs_not_download(
    s3: ObjectStore, bucket_url: str, tmp_path: Path
) -> None:
    storage = open_bucket(tmp_path, bucket_url)
    made = tmp_path / "work" / "made"
    made.parent.mkdir()
    made.write_bytes(CONTENT)
    storage.adopt(made, SHA)
    assert bring(storage, SHA, tmp_path / "work" / "next").read_bytes() == CONTENT
    assert gets(s3, SHA) == 0


def test_what_was_used_longest_ago_goes_first_and_a_run_keeps_what_it_holds(
    bucket_url: str, uploaded: list[str], tmp_path: Path
) -> None:
    storage = open_bucket(tmp_path, bucket_url, cache_bytes=25 * KIB)
    held = bring(storage, uploaded[0], tmp_path / "run")
    bring(storage, uploaded[1], tmp_path / "run")
    age(tmp_path, uploaded[0], seconds=200)
    age(tmp_path, uploaded[1], seconds=100)
    bring(storage, uploaded[0], tmp_path / "next")  # used again: now the other one is older
    bring(storage, uploaded[2], tmp_path / "run")
    assert cached(tmp_path) == {uploaded[0], uploaded[2]}
    age(tmp_path, uploaded[0], seconds=300)
    bring(storage, uploaded[3], tmp_path / "run")
    assert cached(tmp_path) == {uploaded[2], uploaded[3]}
    assert held.read_bytes() == bytes([0]) * 10 * KIB


def test_a_cache_of_nothing_still_serves(
    bucket_url: str, uploaded: list[str], tmp_path: Path
) -> None:
    storage = open_bucket(tmp_path, bucket_url, cache_bytes=0)
    for sha256 in uploaded:
        assert bring(storage, sha256, tmp_path / "run").stat().st_size == 10 * KIB
    assert cached(tmp_path) == set()


def test_what_breaks_off_is_never_used(
    s3: ObjectStore, bucket_url: str, uploaded: list[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    bucket, key = bucket_url.split("/")[2], f"some/prefix/files/{uploaded[0][:2]}/{uploaded[0]}"
    s3.client().put_object(Bucket=bucket, Key=key, Body=b"torn")
    storage = open_bucket(tmp_path, bucket_url)
    with pytest.raises(FileNotFoundError):
        storage.fetch(uploaded[0], tmp_path / "run")
    assert gets(s3, uploaded[0]) == 2  # tried again: it may have been hurt on its way
    with monkeypatch.context() as patch:
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{servers.free_port()}")
        away = open_away(tmp_path, bucket_url)
        with pytest.raises(Unavailable):
            away.fetch(uploaded[1], tmp_path / "run")
    assert cached(tmp_path) == set()
    assert list((tmp_path / "run").iterdir()) == []
    assert list((tmp_path / "tmp").iterdir()) == []


def test_what_is_cached_is_there_while_the_store_is_away(
    bucket_url: str, uploaded: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring(open_bucket(tmp_path, bucket_url), uploaded[0], tmp_path / "one")
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{servers.free_port()}")
    assert bring(open_away(tmp_path, bucket_url), uploaded[0], tmp_path / "two").exists()


def test_a_deleted_file_leaves_the_cache(
    bucket_url: str, uploaded: list[str], tmp_path: Path
) -> None:
    storage = open_bucket(tmp_path, bucket_url)
    held = [bring(storage, uploaded[0], tmp_path / run) for run in ("one", "two")]
    storage.delete(uploaded[0])
    assert cached(tmp_path) == set()
    assert all(path.exists() for path in held)


def test_a_place_that_somebody_else_fills_meanwhile_is_right(tmp_path: Path) -> None:
    cache, target = Cache(tmp_path, limit=KIB), tmp_path / "run" / SHA

    def download(file: BinaryIO) -> None:
        file.write(b"x")
        target.write_bytes(b"x")

    cache.lend(SHA, target, download)
    for number in range(200):  # a cached one, wanted by two at the same moment
        gate, raced = threading.Barrier(2), tmp_path / "run" / str(number)

        def lend(gate: threading.Barrier = gate, raced: Path = raced) -> None:
            gate.wait()
            cache.lend(SHA, raced, download)

        with ThreadPoolExecutor(2) as both:
            for done in [both.submit(lend) for _ in range(2)]:
                done.result()
    assert list((tmp_path / "tmp").iterdir()) == []


def test_two_processes_fetch_a_file_once(s3: ObjectStore, bucket_url: str, tmp_path: Path) -> None:
    put(open_bucket(tmp_path / "elsewhere", bucket_url))
    host = tmp_path / "host"
    script = (
        "import sys; from pathlib import Path; from core.settings import Settings;"
        "from core.storage import open_storage;"
        f"s = open_storage(Settings(data_dir=Path({str(host)!r}), storage_url={bucket_url!r}));"
        f"sys.stdin.readline(); s.fetch({SHA!r}, Path(sys.argv[1]))"
    )
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", script, str(host / f"run{number}")],
            stdin=subprocess.PIPE, cwd=servers.CHECKOUT, env=os.environ,
        )
        for number in range(3)
    ]  # fmt: skip
    for worker in workers:
        assert worker.stdin is not None
        worker.stdin.close()  # all at once
    assert [worker.wait(60) for worker in workers] == [0, 0, 0]
    assert gets(s3, SHA) == 1
    for number in range(3):
        assert (host / f"run{number}" / SHA).read_bytes() == CONTENT


def test_a_scratch_that_was_emptied_is_made_again(
    bucket_url: str, uploaded: list[str], tmp_path: Path
) -> None:
    host = tmp_path / "host"
    storage = open_bucket(host, bucket_url)
    bring(storage, uploaded[0], host / "run")
    shutil.rmtree(host)
    assert bring(storage, uploaded[0], host / "run").exists()


def open_away(data_dir: Path, url: str) -> Storage:
    settings = Settings(data_dir=data_dir, storage_url=url)
    return open_storage(settings, patience_seconds=0.5)


def age(host: Path, sha256: str, *, seconds: float) -> None:
    """Make a cached file look as if it had last been used a while ago."""
    path = host / "cache" / sha256[:2] / sha256
    then = path.stat().st_mtime - seconds
    os.utime(path, (then, then))
