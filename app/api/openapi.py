"""The OpenAPI document: one summary an operation, and errors as they are really answered."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fastapi import FastAPI
from starlette.routing import BaseRoute

PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "code", "request_id"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "A sentence that says what to do."},
        "code": {"type": "string", "description": "Stable, snake_case."},
        "request_id": {"type": "string"},
        "errors": {
            "type": "array",
            "description": "With 422: which fields.",
            "items": {
                "type": "object",
                "properties": {"field": {"type": "string"}, "message": {"type": "string"}},
            },
        },
    },
}
KEY = {
    "type": "http",
    "scheme": "bearer",
    "description": "A key of this service (where it runs with STILLHOUSE_AUTH=keys).",
}
FAILURES = {
    "4XX": "Refused; `code` says why (RFC 9457).",
    "5XX": "Not now, or a defect of the service (RFC 9457).",
}


def install(app: FastAPI, *, open_routes: Iterable[BaseRoute]) -> None:
    """Rewrite what FastAPI assumes of summaries, keys and errors.

    Args:
        app: the whole API.
        open_routes: those that ask for no key.
    """
    open_paths = {str(getattr(route, "path", "")) for route in open_routes}
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _mend(generate(), open_paths)
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way


def _mend(document: dict[str, Any], open_paths: set[str]) -> dict[str, Any]:
    document.setdefault("components", {})["securitySchemes"] = {"key": KEY}
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    for name in ("HTTPValidationError", "ValidationError"):
        schemas.pop(name, None)
    schemas["Problem"] = PROBLEM
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    for path, operations in document["paths"].items():
        for operation in operations.values():
            if path not in open_paths:
                operation["security"] = [{"key": []}]
            operation["summary"] = operation["operationId"].replace("_", " ").capitalize()
            operation["responses"].pop("422", None)
            for status, description in FAILURES.items():
                operation["responses"][status] = {"description": description, "content": content}
    return document
