"""Bytes by their SHA-256: written once while they're hashed, never held in memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect

from app.deps import State, StateDep, Tenant
from core import files
from core.storage import Incoming
from core.tables import File
from stillhouse.errors import InUse, Malformed, NotFound, TooLarge, Unavailable

router = APIRouter(prefix="/v1/blobs", tags=["blobs"])

Sha = Annotated[str, Path(pattern="^[0-9a-f]{64}$")]
SILENCE_SECONDS = 60.0
BATCH_BYTES = 2 * 1024 * 1024


@router.head("/{sha256}", operation_id="has_blob")
def has(sha256: Sha, state: StateDep, tenant: Tenant) -> Response:
    """200 if the bytes are here and needn't be sent."""
    with state.database.read() as session:
        known = files.uploaded(session, tenant, sha256)
    return Response(status_code=200 if known else 404)


@router.put("/{sha256}", operation_id="put_blob", status_code=201)
async def put(sha256: Sha, request: Request, state: StateDep, tenant: Tenant) -> Response:
    """Send bytes as the raw body; 200 if they're known, 201 if they're new."""
    expected = _announced(request)
    if expected > state.settings.max_upload_bytes:
        raise TooLarge(f"This service takes at most {state.settings.max_upload_bytes} bytes.")
    if await run_in_threadpool(_know, state, tenant, sha256):
        await _drop(request.stream(), state.settings.max_upload_bytes)
        return JSONResponse({"object": "blob", "sha256": sha256}, 200)
    incoming = await run_in_threadpool(state.storage.receive, sha256, expected)
    try:
        await _receive(request.stream(), incoming, state.settings.max_upload_bytes)
        await run_in_threadpool(incoming.keep)
    except ClientDisconnect as error:
        raise Malformed("The connection ended before the body did.") from error
    finally:
        await run_in_threadpool(incoming.close)
    await run_in_threadpool(_record, state, tenant, sha256, incoming.size)
    return JSONResponse({"object": "blob", "sha256": sha256}, 201)


@router.delete("/{sha256}", operation_id="delete_blob", status_code=204)
def delete(sha256: Sha, state: StateDep, tenant: Tenant) -> Response:
    """Forget an upload."""
    with state.database.write() as session:
        if not files.uploaded(session, tenant, sha256):
            raise NotFound("There is no such blob.")
        if used_by := files.named_by(session, tenant, sha256):
            raise InUse(used_by=used_by)
        files.forget_upload(session, tenant, sha256)
    return Response(status_code=204)


def _announced(request: Request) -> int:
    sent = request.headers.get("content-length", "0")
    if not (sent.isascii() and sent.isdecimal()):
        raise Malformed("Content-Length is not a number.")
    return int(sent[:20])


async def _receive(stream: AsyncIterator[bytes], incoming: Incoming, limit: int) -> None:
    """Write one batch while the next one arrives."""
    writing: asyncio.Future[None] | None = None
    batch: list[bytes] = []
    size = total = 0
    try:
        async for chunk in _steady(stream):
            batch.append(chunk)
            size += len(chunk)
            total += len(chunk)
            if total > limit:
                raise TooLarge(f"This service takes at most {limit} bytes.")
            if size >= BATCH_BYTES:
                if writing is not None:
                    await writing
                writing = asyncio.ensure_future(run_in_threadpool(incoming.write, batch))
                batch, size = [], 0
    finally:
        if writing is not None:
            await writing
    await run_in_threadpool(incoming.write, batch)


async def _drop(stream: AsyncIterator[bytes], limit: int) -> None:
    """Read a body that isn't needed: left unread it would break the connection under the client."""
    total = 0
    async for chunk in _steady(stream):
        total += len(chunk)
        if total > limit:
            raise TooLarge(f"This service takes at most {limit} bytes.")


async def _steady(stream: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The pieces of a body; a sender who falls silent is given up."""
    while True:
        try:
            async with asyncio.timeout(SILENCE_SECONDS):
                chunk = await anext(stream)
        except StopAsyncIteration:
            return
        except TimeoutError as error:
            raise Malformed(f"Nothing arrived for {SILENCE_SECONDS:.0f} s.") from error
        yield chunk


def _know(state: State, tenant: str, sha256: str) -> bool:
    with state.database.write() as session:
        if not files.uploaded(session, tenant, sha256):
            return False
        ours = files.converted(session, tenant, sha256) or sha256
        found = session.get(File, ours)
        if found is None:
            return False
        files.note(session, ours, found.bytes)
        if ours == sha256:
            files.use(session, sha256, files.upload_owner(tenant), "upload")  # young again
    # The note keeps them from being collected; the storage is asked outside the transaction.
    return state.storage.has(ours)


def _record(state: State, tenant: str, sha256: str, size: int) -> None:
    with state.database.write() as session:
        files.note(session, sha256, size)
        files.use(session, sha256, files.upload_owner(tenant), "upload")
    if not state.storage.has(sha256):
        # An old, unneeded twin was collected between the last byte and this row.
        raise Unavailable("The bytes were removed while they arrived; send them again.")
