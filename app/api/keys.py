"""Keys that open the API: made, listed and revoked by whoever holds one with the scope admin."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from pydantic import Field, StringConstraints
from sqlalchemy import select

from app.api import answers, schemas
from app.deps import ADMIN, After, CallerDep, Idempotency, Limit, StateDep
from core import keys
from core.keys import Scope
from core.tables import Key
from stillhouse.spec import Frozen, Metadata, Name

router = APIRouter(prefix="/v1/keys", tags=["keys"], dependencies=[ADMIN])

TenantName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$")]


class KeySpec(Frozen):
    """A key to be made."""

    name: Name | None = None
    scopes: Annotated[tuple[Scope, ...], Field(min_length=1, max_length=3)] = ("submit",)
    tenant: TenantName | None = None
    metadata: Metadata = Field(default_factory=dict)


@router.post("", status_code=201, operation_id="create_key")
def create(spec: KeySpec, state: StateDep, caller: CallerDep, claim: Idempotency) -> Response:
    """Make a key. It is shown in this answer's `key`, and never again, a replay included."""
    key = keys.draw()
    made, replayed = answers.create(
        state,
        claim,
        lambda session: keys.add(
            session,
            key,
            tenant=spec.tenant or caller.tenant,
            scopes=list(spec.scopes),
            name=spec.name,
            labels=spec.metadata,
            created_by=caller.key,
        ),
    )
    with state.database.read() as session:
        body = schemas.key(keys.get(session, made))
    if not replayed:
        body["key"] = key
    response = JSONResponse(body, 201, headers={"Cache-Control": "no-store"})
    return answers.mark(response, f"/v1/keys/{made}", replayed=replayed)


@router.get("", operation_id="list_keys")
def list_(request: Request, state: StateDep, limit: Limit = 20, after: After = None) -> Response:
    """The keys of all tenants, newest first, revoked ones included."""
    with state.database.read() as session:
        rows = answers.newest(session, select(Key), Key.id, after=after, limit=limit)
    return answers.page(request, rows, limit, schemas.key)


@router.get("/{key_id}", operation_id="get_key")
def read(key_id: str, request: Request, state: StateDep) -> Response:
    """One key, without its secret."""
    with state.database.read() as session:
        row = keys.get(session, key_id)
    return answers.one(request, row, schemas.key(row))


@router.delete("/{key_id}", status_code=204, operation_id="revoke_key")
def revoke(key_id: str, state: StateDep) -> Response:
    """Shut a key out, for good; it stays in the list."""
    with state.database.write() as session:
        keys.revoke(session, key_id)
    state.doors.shut(key_id)
    return Response(status_code=204)
