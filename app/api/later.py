"""What the contract names and isn't built yet answers 422 `not_available`, never silence."""

from __future__ import annotations

from fastapi import APIRouter, Request

from stillhouse.errors import NotAvailable

router = APIRouter(include_in_schema=False)

ANY = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD"]
LATER = {
    "/v1/uploads": ANY,
    "/v1/uploads/{rest:path}": ANY,
    "/v1/teacher-store": ["GET"],
    "/v1/comparisons": ["GET"],
    "/v1/jobs/{job_id}/pause": ["POST"],
    "/v1/jobs/{job_id}/resume": ["POST"],
    "/v1/jobs/{job_id}/finish": ["POST"],
    "/v1/jobs/{job_id}/rerun": ["POST"],
    "/hf/{rest:path}": ANY,
    "/": ["GET"],
}


def refuse(request: Request) -> None:
    """Say so.

    Raises `NotAvailable` always.
    """
    raise NotAvailable(f"{request.method} {request.url.path} is not available yet.")


for _path, _methods in LATER.items():
    router.add_api_route(_path, refuse, methods=_methods)
