import re
import threading
import time
from dataclasses import replace
from typing import Any

import httpx
import pytest
from fastapi.routing import iter_route_contexts
from sqlalchemy import event
from starlette.testclient import TestClient

from app import doors
from app.deps import State
from app.main import create_app
from core import keys, migrate
from core.settings import Settings
from core.tables import Key
from tests import servers, waiting
from tests.stage import Stage

OPEN = {
    "/healthz", "/readyz", "/v1/version",
    "/openapi.json", "/docs", "/docs/oauth2-redirect", "/static-offline-docs",
}  # fmt: skip
ADMINS = ("/v1/keys", "/v1/keys/{key_id}", "/v1/workers/{worker_id}/drain", "/v1/diagnosis")
LOOKING = {"GET", "HEAD"}


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"auth": "keys"})


def state(client: TestClient) -> State:
    found: State = client.app.state.stillhouse  # type: ignore[attr-defined]  # it is a FastAPI
    return found


@pytest.fixture
def routes(client: TestClient) -> list[tuple[str, str]]:
    """Every method and path that the service answers, but for the open ones."""
    found = [
        (method, str(context.path))
        for context in iter_route_contexts(client.app.routes)  # type: ignore[attr-defined]  # as above
        if context.path not in OPEN
        for method in sorted(context.methods or {"GET"})
    ]
    assert len(found) > 40
    return found


def fill(path: str) -> str:
    return re.sub(r"\{\w+(:\w+)?\}", "a" * 64, path)


def test_every_route_is_open_by_name_or_asks_for_a_key(
    client: TestClient, routes: list[tuple[str, str]]
) -> None:
    for method, path in routes:
        response = client.request(method, fill(path))
        assert response.status_code == 401, (method, path)
        assert response.headers["www-authenticate"] == "Bearer"
        assert method == "HEAD" or response.json()["code"] == "unauthorized"


def test_the_open_routes_ask_for_none(client: TestClient) -> None:
    for path in OPEN - {"/static-offline-docs"}:
        assert client.get(path).status_code == 200, path


def test_a_key_to_read_changes_nothing(
    client: TestClient, stage: Stage, routes: list[tuple[str, str]]
) -> None:
    reader = stage.key("read")
    for method, path in routes:
        response = client.request(method, fill(path), headers=reader)
        is_allowed = method in LOOKING and path not in ADMINS
        assert (response.status_code not in (401, 403)) == is_allowed, (method, path)
        assert is_allowed or method == "HEAD" or response.json()["code"] == "scope_missing"


def test_a_key_to_submit_is_no_operators(
    client: TestClient, stage: Stage, routes: list[tuple[str, str]]
) -> None:
    submitter = stage.key("submit")
    for method, path in routes:
        response = client.request(method, fill(path), headers=submitter)
        assert (response.status_code == 403) == (path in ADMINS), (method, path)


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Basic eDp5", "Bearer sth_", "Bearer é", "Bearer " + "x" * 9000],
)
def test_a_garbled_header_is_no_key(client: TestClient, header: str) -> None:
    response = client.get("/v1/jobs", headers=[(b"authorization", header.encode("latin-1"))])
    assert (response.status_code, response.json()["code"]) == (401, "unauthorized")


def test_a_key_in_the_address_is_no_key(client: TestClient, stage: Stage) -> None:
    text = stage.key()["authorization"].removeprefix("Bearer ")
    for name in ("key", "token", "access_token", "authorization"):
        assert client.get("/v1/jobs", params={name: text}).status_code == 401


def test_an_unknown_and_a_revoked_key_are_told_the_same(client: TestClient, stage: Stage) -> None:
    stage.key()
    revoked = stage.key("read")
    presented = keys.read(revoked["authorization"].removeprefix("Bearer "))
    assert presented is not None
    stage.write(keys.revoke, presented.id)
    unknown = {"authorization": f"Bearer {keys.draw()}"}
    said = [client.get("/v1/jobs", headers=each) for each in (revoked, unknown)]
    assert [each.status_code for each in said] == [401, 401]
    bodies = [each.json() | {"request_id": ""} for each in said]
    assert bodies[0] == bodies[1]


def test_an_id_that_is_remembered_opens_nothing_by_itself(client: TestClient, stage: Stage) -> None:
    text = stage.key("read")["authorization"].removeprefix("Bearer ")
    start = "_".join([*text.split("_")[:2], keys.draw().split("_")[2]])
    forged = f"{start}_{keys._checksum(start)}"
    for shown, status in ((forged, 401), (text, 200), (forged, 401), (text, 200)):
        response = client.get("/v1/jobs", headers={"authorization": f"Bearer {shown}"})
        assert response.status_code == status


def test_a_refused_upload_leaves_its_sender_an_answer(live_url: str) -> None:
    with httpx.Client() as sender:
        path = f"{live_url}/v1/blobs/{'a' * 64}"
        for _ in range(2):
            assert sender.put(path, content=b"x" * 4_000_000).status_code == 401


def test_wrong_keys_are_slowed_down_and_good_ones_never(client: TestClient, stage: Stage) -> None:
    good = stage.key("read")
    wrong = {"authorization": f"Bearer {keys.draw()}"}
    said = [client.get("/v1/jobs", headers=wrong).status_code for _ in range(doors.MAX_WRONG + 2)]
    assert said == [401] * doors.MAX_WRONG + [429] * 2
    slowed = client.get("/v1/jobs", headers=wrong)
    assert slowed.json()["code"] == "too_many_attempts"
    assert 0 < int(slowed.headers["retry-after"]) <= 60
    assert client.get("/v1/jobs", headers=good).status_code == 200
    assert client.get("/v1/jobs").status_code == 401


def test_the_table_of_addresses_does_not_grow_for_ever(client: TestClient) -> None:
    held = state(client).doors
    for number in range(doors.MAX_ADDRESSES + 50):
        held._refusal(f"10.0.{number >> 8}.{number & 255}", "no")
    assert len(held._wrong) == doors.MAX_ADDRESSES


def test_a_use_is_written_down(client: TestClient, stage: Stage) -> None:
    reader = stage.key("read")
    presented = keys.read(reader["authorization"].removeprefix("Bearer "))
    assert presented is not None
    assert client.get("/v1/jobs", headers=reader).status_code == 200
    waiting.until(lambda: stage.get(Key, presented.id).last_used_at is not None)


def test_a_revocation_is_obeyed_at_once_here_and_in_seconds_elsewhere(
    client: TestClient, settings: Settings, stage: Stage
) -> None:
    admin = stage.key()
    made = client.post("/v1/keys", json={"scopes": ["read"]}, headers=admin).json()
    shown = {"authorization": f"Bearer {made['key']}"}
    with TestClient(create_app(settings)) as elsewhere:
        assert {c.get("/v1/jobs", headers=shown).status_code for c in (client, elsewhere)} == {200}
        assert client.delete(f"/v1/keys/{made['id']}", headers=admin).status_code == 204
        assert client.get("/v1/jobs", headers=shown).status_code == 401
        waiting.until(
            lambda: elsewhere.get("/v1/jobs", headers=shown).status_code == 401,
            seconds=5,
            what="the revocation",
        )


def test_a_request_costs_no_look_up_while_its_key_is_remembered(
    client: TestClient, stage: Stage
) -> None:
    asked: list[str] = []
    reader = stage.key("read")
    engine = state(client).database.engine
    event.listen(engine, "before_cursor_execute", lambda *given: asked.append(given[2]))
    assert client.get("/v1/methods", headers=reader).status_code == 200
    waiting.until(lambda: any(each.startswith("UPDATE keys") for each in asked), what="its use")
    first = len(asked)
    assert client.get("/v1/methods", headers=reader).status_code == 200
    assert len(asked) == first


def test_without_its_database_the_service_does_not_say_that_a_key_is_wrong(
    settings: Settings,
) -> None:
    with servers.postgres() as server:
        url = servers.fresh_postgres_database(server)
        migrate.upgrade(url)
        app = create_app(settings.model_copy(update={"database_url": url}))
        opened = TestClient(app)
        client = opened.__enter__()
    response = client.get("/v1/methods", headers={"authorization": f"Bearer {keys.draw()}"})
    assert (response.status_code, response.json()["code"]) == (503, "unavailable")
    opened.__exit__(None, None, None)


def test_a_service_that_has_not_begun_says_503(settings: Settings, stage: Stage) -> None:
    prepared, admin = threading.Event(), stage.key()
    with TestClient(create_app(settings, prepared=prepared)) as client:
        assert client.get("/v1/jobs", headers=admin).status_code == 503
        prepared.set()
        assert client.get("/v1/jobs", headers=admin).status_code == 200


def test_the_openapi_document_says_which_operations_take_a_key(client: TestClient) -> None:
    document: dict[str, Any] = client.get("/openapi.json").json()
    assert document["components"]["securitySchemes"]["key"]["scheme"] == "bearer"
    for path, methods in document["paths"].items():
        for operation in methods.values():
            assert ("security" in operation) == (path not in OPEN), path


def test_a_database_that_hangs_holds_nobody_up_at_the_door(
    client: TestClient, stage: Stage
) -> None:
    held, gate = state(client), threading.Event()
    reader, stranger = stage.key("read"), {"authorization": f"Bearer {keys.draw()}"}
    assert client.get("/v1/methods", headers=reader).status_code == 200
    held.doors._known = {
        id_: replace(one, is_stale_at=0.0) for id_, one in held.doors._known.items()
    }
    held.doors._patience.seconds = 0.1
    event.listen(held.database.engine, "before_cursor_execute", lambda *_: gate.wait(20))
    try:
        before, began = threading.active_count(), time.monotonic()
        for _ in range(2 * doors.THREADS):
            assert client.get("/v1/methods", headers=reader).status_code == 200
            response = client.get("/v1/methods", headers=stranger)
            assert (response.status_code, response.json()["code"]) == (503, "unavailable")
        assert time.monotonic() - began < 10
        assert threading.active_count() <= before + doors.THREADS
    finally:
        gate.set()


def test_who_was_revoked_is_not_let_in_again_by_an_outage(client: TestClient, stage: Stage) -> None:
    held, reader = state(client), stage.key("read")
    assert client.get("/v1/methods", headers=reader).status_code == 200
    (id_,) = held.doors._known
    held.doors._known = {id_: replace(held.doors._known[id_], is_stale_at=0.0)}
    stage.write(keys.revoke, id_)  # by another process
    stage.key()
    assert client.get("/v1/methods", headers=reader).status_code == 401
    assert held.doors._known == {}
