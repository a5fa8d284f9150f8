"""What reaches the database, and what goes away before it's whole."""

import asyncio
from typing import Any

import pytest
from starlette.testclient import TestClient
from starlette.types import Message

from app.api.bodies import Bodies
from tests.stage import Stage

JSON = {"content-type": "application/json"}


@pytest.mark.parametrize("depth", [50, 150, 240, 300, 700, 950, 3_000])
def test_deep_nesting_is_taken_or_refused_and_never_an_error_here(
    client: TestClient, stage: Stage, depth: int
) -> None:
    text = b"[" * depth + b"]" * depth
    blob = stage.upload(b"weights").encode()
    body = (
        b'{"name": "t", "weights": {"blob": "%s"}, "network": {"family": "builtin", "name": "mlp",'
        b' "options": {"deep": %s}}}' % (blob, text)
    )
    response = client.post("/v1/teachers", content=body, headers=JSON)
    assert response.status_code in (202, 400, 422), response.text
    if response.status_code == 202:
        assert client.get(response.headers["location"]).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/v1/jobs?limit=0", "/v1/jobs?limit=101", "/v1/jobs?limit=x", "/v1/jobs?status=done",
        "/v1/teachers?limit=0", "/v1/datasets?limit=101", "/v1/students?limit=0",
        "/v1/jobs?after=%00", "/v1/jobs/%00", "/v1/jobs?metadata[a]=%00",
        "/v1/networks?max_parameters=0", "/v1/networks?max_parameters=nan",
        "/v1/jobs?after=" + "x" * 65,
    ],
)  # fmt: skip
def test_a_query_that_is_wrong_is_refused(client: TestClient, path: str) -> None:
    response = client.get(path)
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")


@pytest.mark.parametrize(
    "path", ["/v1/jobs/%ff", "/v1/jobs/%ed%a0%80", "/v1/jobs/" + "x" * 500, "/v1/students/%2e%2e"]
)
def test_an_id_that_nothing_has_is_not_found(client: TestClient, path: str) -> None:
    response = client.get(path)
    assert (response.status_code, response.json()["code"]) == (404, "not_found")


def test_a_header_that_makes_no_sense_is_refused_or_ignored(client: TestClient) -> None:
    for value in (b"wait=\xb2", b"wait=-1", b"wait=x", b"wait", b"=", b"wait=\xff"):
        assert client.get("/v1/jobs/x", headers={b"prefer": value}).status_code == 404
    for key in ("k" * 256, ""):
        response = client.post("/v1/jobs", json={}, headers={"idempotency-key": key})
        assert (response.status_code, response.json()["code"]) == (422, "invalid_request")


def test_a_request_whose_sender_has_gone_is_dropped_in_silence() -> None:
    sent: list[Message] = []

    async def never(*_arguments: Any) -> None:
        message = "the request reached a route"
        raise AssertionError(message)

    async def gone() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "POST", "path": "/v1/jobs", "query_string": b"",
        "headers": [(b"content-length", b"10")],
    }  # fmt: skip
    asyncio.run(Bodies(never, max_body_bytes=100)(scope, gone, send))
    assert sent == []


@pytest.mark.parametrize("value", [r'"a\u0000"', r'"\ud800"', r'"\udc00\ud800"'])
@pytest.mark.parametrize("key", ['"k"', "{value}"])
def test_text_that_no_database_takes_is_refused_in_a_spec_that_is_else_right(
    client: TestClient, stage: Stage, key: str, value: str
) -> None:
    pair = f"{key.format(value=value)}: {value}"
    source = f'{{"blob": "{stage.upload(b"rows")}"}}'
    body = f'{{"name": "d", "source": {source}, "metadata": {{{pair}}}}}'
    response = client.post("/v1/datasets", content=body.encode(), headers=JSON)
    assert (response.status_code, response.json()["code"]) == (422, "invalid_request")
    plain = client.post("/v1/datasets", content=body.replace(value, '"v"').encode(), headers=JSON)
    assert plain.status_code == 202
