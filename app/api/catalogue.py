"""What the service can do: methods, networks."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from fastapi.responses import JSONResponse
from sqlalchemy import select

from app.deps import Limit, StateDep
from core.tables import Network
from stillhouse.spec.methods import METHODS

router = APIRouter(prefix="/v1", tags=["catalogue"])


@router.get("/methods", operation_id="list_methods")
def methods() -> dict[str, Any]:
    """The objectives: schema, formula, source, needs."""
    described = [method.describe() for method in METHODS]
    return {"object": "list", "data": described, "has_more": False}


@router.get("/networks", operation_id="list_networks")
def networks(
    state: StateDep,
    family: Annotated[str | None, Query(max_length=32)] = None,
    query: Annotated[str | None, Query(max_length=128)] = None,
    max_parameters: Annotated[int | None, Query(gt=0, lt=2**63)] = None,
    limit: Limit = 100,
    after: Annotated[str | None, Query(max_length=200)] = None,
) -> Response:
    """What the workers can build, by family and name; `after` is "family/name"."""
    found = select(Network).order_by(Network.family, Network.name)
    if family is not None:
        found = found.where(Network.family == family)
    if query is not None:
        found = found.where(Network.name.icontains(query, autoescape=True))
    if max_parameters is not None:
        found = found.where(Network.parameters <= max_parameters)
    if after is not None:
        last_family, _, last_name = after.partition("/")
        found = found.where(
            (Network.family > last_family)
            | ((Network.family == last_family) & (Network.name > last_name))
        )
    with state.database.read() as session:
        rows = list(session.scalars(found.limit(limit + 1)))
    data = [
        {
            "object": "network",
            "id": f"{row.family}/{row.name}",
            "family": row.family,
            "name": row.name,
            "parameters": row.parameters,
            "macs": row.macs,
        }
        for row in rows[:limit]
    ]
    return JSONResponse({"object": "list", "data": data, "has_more": len(rows) > limit})
