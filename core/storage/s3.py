"""Files of a bucket: the key is the hash, an upload is visible when it's whole."""

from __future__ import annotations

import contextlib
import hashlib
import math
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, BinaryIO

import httpx
import obstore
from obstore import exceptions

from core.storage import access
from core.storage.cache import Cache
from core.storage.interface import CHUNK_BYTES, Gone, address, is_hash, require_digest
from stillhouse.errors import Unavailable

PART_BYTES = 8 * 1024**2  # of an upload; S3 takes 10,000 parts, so files up to 78 GiB
PARTS_AT_ONCE = 4
# One request of a long download: one that breaks is tried again from where it began.
STRETCH_BYTES = 64 * 1024**2
LIST_BATCH = 1000
CHECK_KEY = "check"


class S3Incoming:
    """A multipart upload that is completed when the hash is right, and aborted else."""

    def __init__(self, storage: S3Storage, sha256: str) -> None:
        self._storage = storage
        self._sha256 = sha256
        self._writer: Any = storage.writer(sha256)
        self._hash = hashlib.sha256()
        self.size = 0

    def write(self, chunks: list[bytes]) -> None:
        """Append pieces of the body, in order."""
        with self._storage.writing():
            for chunk in chunks:
                self._writer.write(chunk)
                self._hash.update(chunk)
                self.size += len(chunk)

    def keep(self) -> None:
        """Complete the upload."""
        require_digest(self._hash.hexdigest(), self._sha256)
        with self._storage.writing():
            self._writer.close()
        self._writer = None

    def close(self) -> None:
        """Abort what wasn't kept."""
        if self._writer is None:
            return
        # An error is how its writer is told to abort. What can't be aborted stays invisible.
        with contextlib.suppress(exceptions.BaseError, OSError):
            self._writer.__exit__(RuntimeError, RuntimeError("not kept"), None)
        self._writer = None


class S3Storage:
    """Files below a prefix of a bucket, with a cache on this host.

    Args:
        bucket: its name.
        prefix: what its keys begin with; may be empty.
        scratch: a folder of this host.
        cache_bytes: what the cache may hold.
        patience_seconds: how long one request is tried again.
        public_endpoint: the address that users reach it by, if that is another one.
    """

    def __init__(
        self, bucket: str, prefix: str, *, scratch: Path, cache_bytes: int,
        patience_seconds: float = 60.0, public_endpoint: str | None = None,
    ) -> None:  # fmt: skip
        self.scratch = scratch
        self._bucket = bucket
        self._cache = Cache(scratch, limit=cache_bytes)
        self._store = access.connect(bucket, prefix, patience_seconds=patience_seconds)
        self._hasty = access.connect(bucket, prefix, patience_seconds=5.0)
        self._signing = access.connect(bucket, prefix, endpoint=public_endpoint)

    def has(self, sha256: str) -> bool:
        """Whether the file is there."""
        return self._size(sha256) is not None

    def receive(self, sha256: str, expected_bytes: int = 0) -> S3Incoming:
        """Begin an upload; a bucket has room."""
        del expected_bytes
        return S3Incoming(self, sha256)

    def writer(self, sha256: str) -> Any:
        """Obstore's writer of a file: small ones go in one request, others in parts."""
        return obstore.open_writer(
            self._store, _key(sha256), buffer_size=PART_BYTES, max_concurrency=PARTS_AT_ONCE
        )

    def read(self, sha256: str, start: int, end: int) -> Iterator[bytes]:
        """The bytes [start, end)."""
        for begin in range(start, end, STRETCH_BYTES):
            wanted = (begin, min(begin + STRETCH_BYTES, end))
            with access.naming_trouble():
                found = obstore.get(self._store, _key(sha256), options={"range": wanted})
                for chunk in found.stream(min_chunk_size=CHUNK_BYTES):
                    yield bytes(chunk)

    def adopt(self, path: Path, sha256: str) -> None:
        """Upload a file, then keep it in the cache."""
        if not self.has(sha256):
            with path.open("rb") as file, self.writing():
                obstore.put(
                    self._store, _key(sha256), file,
                    chunk_size=PART_BYTES, max_concurrency=PARTS_AT_ONCE,
                )  # fmt: skip
        self._cache.keep(path, sha256)

    def place(self, sha256: str, folder: Path) -> Path:
        """In the folder itself, as a link to the cache."""
        return folder / Path(_key(sha256)).name  # what is no hash has no key

    def fetch(self, sha256: str, folder: Path) -> None:
        """Link it from the cache; download it before if it must be, verified."""

        def download(file: BinaryIO) -> None:
            size = self._size(sha256)
            for _ in range(2):  # what was hurt on its way is whole the second time
                if size is not None and self._download(sha256, size, file) == sha256:
                    return
            raise Gone(sha256)

        self._cache.lend(sha256, self.place(sha256, folder), download)

    def delete(self, *hashes: str) -> None:
        """Remove files, a thousand a request."""
        for sha256 in hashes:
            self._cache.drop(sha256)
        if hashes:
            with self.writing():
                # Hasty, because rows are locked meanwhile; what fails is tried at the next round.
                obstore.delete(self._hasty, [_key(sha256) for sha256 in hashes])

    def link(self, sha256: str, *, seconds: int) -> str:
        """A presigned GET."""
        with access.naming_trouble():
            return obstore.sign(self._signing, "GET", _key(sha256), timedelta(seconds=seconds))

    def names(self, *, before: float = math.inf) -> Iterator[list[str]]:
        """A batch for each page of the listing."""
        with access.naming_trouble():
            for page in obstore.list(self._store, "files", chunk_size=LIST_BATCH):
                old = [item for item in page if item["last_modified"].timestamp() < before]
                names = (item["path"].rpartition("/")[2] for item in old)
                yield [name for name in names if is_hash(name)]

    def check(self) -> None:
        """Write one small key again."""
        with self.writing():
            obstore.put(self._hasty, CHECK_KEY, b"1")

    def prepare(self) -> None:
        """Create the bucket if it isn't there."""
        if self._is_there():
            return
        # Creating one is no operation of obstore's; a signed PUT of nothing is the same request.
        bare = access.connect(self._bucket, "")
        with access.naming_trouble():
            url = obstore.sign(bare, "PUT", "", timedelta(seconds=60))
        try:
            answer = httpx.put(url, content=access.location(), timeout=30, trust_env=False)
        except httpx.HTTPError as error:
            raise Unavailable(f"The object store is away: {error}.") from error
        if not answer.is_success and not self._is_there():
            raise Unavailable(
                f"There is no bucket {self._bucket!r} and it can't be made (HTTP "
                f"{answer.status_code}); make it, or give these credentials the right to."
            )

    def _download(self, sha256: str, size: int, file: BinaryIO) -> str:
        file.seek(0)
        file.truncate()
        hashing = hashlib.sha256()
        for chunk in self.read(sha256, 0, size):
            file.write(chunk)
            hashing.update(chunk)
        return hashing.hexdigest()

    def _size(self, sha256: str) -> int | None:
        with access.naming_trouble():
            try:
                return int(obstore.head(self._store, _key(sha256))["size"])
            except FileNotFoundError:
                if not self._is_there():
                    raise self._no_bucket() from None
                return None

    def _is_there(self) -> bool:
        """Whether the bucket is: a HEAD says 404 of a missing file and a missing bucket alike."""
        with access.naming_trouble():
            try:
                obstore.get(self._store, CHECK_KEY)
            except FileNotFoundError as error:
                return "NoSuchBucket" not in str(error)
            except exceptions.PermissionDeniedError:
                return True  # it is there, and its files may still be ours to read
        return True

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Name trouble; what isn't found while one writes is the bucket."""
        try:
            with access.naming_trouble():
                yield
        except FileNotFoundError as error:
            raise self._no_bucket() from error
        except OSError as error:  # how obstore's writer says whatever went wrong
            raise access.away(error) from error

    def _no_bucket(self) -> Unavailable:
        return Unavailable(
            f"The object store has no bucket {self._bucket!r}; make it, or run `python -m app "
            "migrate`, which does."
        )


def _key(sha256: str) -> str:
    return f"files/{address(sha256)}"
