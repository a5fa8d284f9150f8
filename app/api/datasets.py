"""Datasets: references, resolved and split once."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from sqlalchemy import select

from app.api import answers, patching, schemas, streaming
from app.deps import After, Creator, Idempotency, Limit, State, StateDep, Tenant, Wait
from core import catalog, references
from core.tables import Dataset
from stillhouse.errors import NotFound
from stillhouse.spec import DatasetSpec

router = APIRouter(prefix="/v1/datasets", tags=["datasets"])


@router.post("", status_code=202, operation_id="create_dataset")
def create(
    spec: DatasetSpec,
    request: Request,
    state: StateDep,
    tenant: Tenant,
    creator: Creator,
    claim: Idempotency,
) -> Response:
    """Take a dataset in; a worker decodes and splits it."""
    references.require_allowed(spec, state.settings)
    made, replayed = answers.create(
        state,
        claim,
        lambda session: catalog.create_dataset(session, tenant, spec, created_by=creator).id,
    )
    state.doorbell.ring()
    row = _load(state, tenant, made)
    response = answers.one(request, row, schemas.dataset(row), status=202)
    return answers.mark(response, f"/v1/datasets/{made}", replayed=replayed)


@router.get("", operation_id="list_datasets")
def list_(
    request: Request, state: StateDep, tenant: Tenant, limit: Limit = 20, after: After = None
) -> Response:
    """Datasets, newest first."""
    with state.database.read() as session:
        query = select(Dataset).where(Dataset.tenant == tenant)
        rows = answers.newest(session, query, Dataset.id, after=after, limit=limit)
    return answers.page(request, rows, limit, schemas.dataset)


@router.get("/{dataset_id}", operation_id="get_dataset")
async def read(
    dataset_id: str, request: Request, state: StateDep, tenant: Tenant, wait: Wait
) -> Response:
    """One dataset."""

    def load() -> Dataset:
        return _load(state, tenant, dataset_id)

    await answers.hold(request, state, Dataset, dataset_id, load, wait=wait)
    row = await run_in_threadpool(load)
    return answers.one(request, row, schemas.dataset(row))


@router.patch("/{dataset_id}", operation_id="patch_dataset")
def patch(
    dataset_id: str, changes: patching.Changes, request: Request, state: StateDep, tenant: Tenant
) -> Response:
    """Change name and metadata."""
    with state.database.write() as session:
        row = catalog.get_locked(session, Dataset, tenant, dataset_id)
        patching.apply(row, changes)
    return answers.one(request, row, schemas.dataset(row))


@router.delete("/{dataset_id}", status_code=204, operation_id="delete_dataset")
def delete(dataset_id: str, state: StateDep, tenant: Tenant) -> Response:
    """Forget a dataset that no job names."""
    with state.database.write() as session:
        catalog.delete_dataset(session, tenant, dataset_id)
    return Response(status_code=204)


@router.get("/{dataset_id}/preview", operation_id="preview_dataset")
def preview(dataset_id: str, state: StateDep, tenant: Tenant) -> Response:
    """A few rows: pictures, beginnings of texts, cells by column, or values by channel."""
    row = _ready(state, tenant, dataset_id)
    return JSONResponse({"object": "list", "data": row.facts.get("preview", []), "has_more": False})


@router.get("/{dataset_id}/splits", operation_id="get_dataset_splits")
def splits(dataset_id: str, request: Request, state: StateDep, tenant: Tenant) -> Response:
    """The row numbers of each part; a set without labels is all `train`."""
    row = _ready(state, tenant, dataset_id)
    file = row.files["splits.json"]
    tag = f'"{file["sha256"]}"'
    if answers.matches(request, tag):
        return Response(status_code=304, headers={"ETag": tag})
    if not state.storage.has(file["sha256"]):
        raise NotFound("The file is gone.")
    body = b"".join(state.storage.read(file["sha256"], 0, file["bytes"]))
    return Response(body, media_type="application/json", headers={"ETag": tag})


@router.head("/{dataset_id}/parts/{part}.npz", include_in_schema=False)
@router.get("/{dataset_id}/parts/{part}.npz", operation_id="get_dataset_part")
def part(
    dataset_id: str,
    part: Literal["train", "validation", "test"],
    request: Request,
    state: StateDep,
    tenant: Tenant,
) -> Response:
    """The decoded arrays of a part: x (its shape is the modality's), y (n,), rows (n,).

    Images are (n, h, w, c), series (n, length, channels), tables (n, columns); texts are one array
    of UTF-8 bytes, and `ends` (n,) says where each one ends.
    """
    row = _ready(state, tenant, dataset_id)
    name = f"{part}.npz"
    if name not in row.files:
        raise NotFound(f"The dataset has no {part} rows.")
    file = row.files[name]
    return streaming.file(request, state, sha256=file["sha256"], size=file["bytes"], name=name)


def _load(state: State, tenant: str, dataset_id: str) -> Dataset:
    with state.database.read() as session:
        return catalog.get(session, Dataset, tenant, dataset_id)


def _ready(state: State, tenant: str, dataset_id: str) -> Dataset:
    row = _load(state, tenant, dataset_id)
    if row.status != "ready":
        raise NotFound(f"The dataset is {row.status}; there is nothing to read.")
    return row
