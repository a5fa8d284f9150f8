import pytest
from starlette.testclient import TestClient

from app.main import create_app
from core import keys
from core.settings import Settings
from core.tables import Base, Dataset, Job, Student, Teacher
from tests import stage as stage_module
from tests.stage import NETWORK, Stage

Headers = dict[str, str]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"auth": "keys"})


@pytest.fixture
def admin(stage: Stage) -> Headers:
    return stage.key("admin")


def bearer(text: str) -> Headers:
    return {"authorization": f"Bearer {text}"}


def key_id(headers: Headers) -> str:
    presented = keys.read(headers["authorization"].removeprefix("Bearer "))
    assert presented is not None
    return presented.id


def test_a_key_is_shown_once_and_opens_what_its_scope_says(
    client: TestClient, admin: Headers
) -> None:
    response = client.post("/v1/keys", json={"name": "lab", "metadata": {"a": "b"}}, headers=admin)
    made = response.json()
    assert response.status_code == 201
    assert response.headers["location"] == f"/v1/keys/{made['id']}"
    assert response.headers["cache-control"] == "no-store"
    text = made.pop("key")
    assert client.get(f"/v1/keys/{made['id']}", headers=admin).json() == made
    assert made == made | {
        "object": "key", "name": "lab", "metadata": {"a": "b"}, "tenant": "default",
        "scopes": ["submit"], "created_by": key_id(admin), "last_used_at": None, "revoked_at": None,
    }  # fmt: skip
    assert client.get("/v1/jobs", headers=bearer(text)).status_code == 200
    assert client.get("/v1/keys", headers=bearer(text)).status_code == 403
    assert client.post("/v1/keys", json={}, headers=bearer(text)).status_code == 403


def test_keys_are_listed_newest_first_whosever_they_are(client: TestClient, admin: Headers) -> None:
    made = [
        client.post("/v1/keys", json={"tenant": tenant}, headers=admin).json()["id"]
        for tenant in ("birds", "bees")
    ]
    page = client.get("/v1/keys?limit=2", headers=admin)
    assert [item["id"] for item in page.json()["data"]] == made[::-1]
    assert all("key" not in item for item in page.json()["data"])
    rest = client.get(page.links["next"]["url"], headers=admin).json()
    assert [item["id"] for item in rest["data"]] == [key_id(admin)]


def test_a_key_of_another_tenant_makes_keys_of_that_tenant(
    client: TestClient, stage: Stage
) -> None:
    theirs = stage.key("admin", "birds")
    made = client.post("/v1/keys", json={"scopes": ["read", "admin"]}, headers=theirs).json()
    assert (made["tenant"], made["scopes"]) == ("birds", ["read", "admin"])


@pytest.mark.parametrize(
    ("spec", "field"),
    [
        ({"scopes": []}, "scopes"),
        ({"scopes": ["root"]}, "scopes.0"),
        ({"tenant": "a/b"}, "tenant"),
        ({"tenant": ""}, "tenant"),
        ({"name": "\n"}, "name"),
        ({"expires": 1}, "expires"),
    ],
)
def test_a_key_that_makes_no_sense_is_refused(
    client: TestClient, admin: Headers, spec: dict[str, object], field: str
) -> None:
    response = client.post("/v1/keys", json=spec, headers=admin)
    assert response.status_code == 422
    assert response.json()["errors"][0]["field"] == field


def test_a_revoked_key_opens_nothing_and_stays_listed(client: TestClient, admin: Headers) -> None:
    made = client.post("/v1/keys", json={}, headers=admin).json()
    shown = bearer(made["key"])
    assert client.get("/v1/jobs", headers=shown).status_code == 200
    for _ in range(2):
        assert client.delete(f"/v1/keys/{made['id']}", headers=admin).status_code == 204
    assert client.get("/v1/jobs", headers=shown).status_code == 401
    assert client.get(f"/v1/keys/{made['id']}", headers=admin).json()["revoked_at"]
    assert client.delete("/v1/keys/key_x", headers=admin).status_code == 404


def test_the_last_admin_key_can_not_be_revoked(client: TestClient, admin: Headers) -> None:
    response = client.delete(f"/v1/keys/{key_id(admin)}", headers=admin)
    assert (response.status_code, response.json()["code"]) == (409, "last_admin_key")
    assert response.headers["x-should-retry"] == "false"
    assert client.get("/v1/keys", headers=admin).status_code == 200


def test_a_replay_answers_with_the_key_object_without_the_key(
    client: TestClient, admin: Headers
) -> None:
    headers = admin | {"idempotency-key": "k1"}
    first = client.post("/v1/keys", json={"name": "a"}, headers=headers)
    again = client.post("/v1/keys", json={"name": "a"}, headers=headers)
    assert again.status_code == 201
    assert again.headers["idempotency-replayed"] == "true"
    assert "key" not in again.json()
    assert first.json() == again.json() | {"key": first.json()["key"]}
    assert len(client.get("/v1/keys", headers=admin).json()["data"]) == 2


def test_keys_can_be_prepared_before_they_are_asked_for(settings: Settings) -> None:
    with TestClient(create_app(settings.model_copy(update={"auth": "off"}))) as client:
        made = client.post("/v1/keys", json={"scopes": ["admin"]}).json()
    assert made["created_by"] is None
    with TestClient(create_app(settings)) as client:
        assert client.get("/v1/keys", headers=bearer(made["key"])).status_code == 200


def test_what_is_made_says_which_key_made_it(client: TestClient, stage: Stage) -> None:
    submitter = stage.key("submit")
    made_by = key_id(submitter)
    trained = {"dataset": stage.dataset(), "training": {"epochs": 1}}
    blob = {"blob": stage.upload(b"bytes")}
    inputs = [
        ("datasets", {"name": "d", "source": blob}, Dataset),
        ("teachers", {"name": "t", "network": NETWORK, "weights": blob}, Teacher),
        ("teachers", {"name": "t", "network": NETWORK, "train": trained}, Teacher),
        ("jobs", stage_module.job_spec(stage.teacher(), stage.dataset()), Job),
    ]  # fmt: skip
    kinds: list[tuple[str, dict[str, object], type[Base]]] = list(inputs)
    for path, spec, kind in kinds:
        response = client.post(f"/v1/{path}", json=spec, headers=submitter)
        assert response.json()["created_by"] == made_by, response.text
        row = stage.get(kind, response.json()["id"])
        assert row.created_by == made_by  # type: ignore[attr-defined]  # every one of them has it
    teacher = client.get("/v1/teachers", headers=submitter).json()["data"]
    job = next(item["job"] for item in teacher if item["job"])
    assert stage.get(Job, job).created_by == made_by
    stage.play()
    listed = client.get("/v1/students", headers=submitter).json()["data"]
    assert {stage.get(Student, item["id"]).created_by for item in listed} == {made_by}
