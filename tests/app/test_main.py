import json
import re
import shutil
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from app.commands import serve as program
from app.main import create_app
from core import migrate, workers
from core.settings import Settings
from stillhouse import __version__
from stillhouse.spec.methods import METHODS
from tests import servers, waiting
from tests.stage import Stage

ROUTES = {
    "/v1/blobs/{sha256}": {"head", "put", "delete"},
    "/v1/teachers": {"get", "post"},
    "/v1/teachers/{teacher_id}": {"get", "patch", "delete"},
    "/v1/datasets": {"get", "post"},
    "/v1/datasets/{dataset_id}": {"get", "patch", "delete"},
    "/v1/datasets/{dataset_id}/preview": {"get"},
    "/v1/datasets/{dataset_id}/splits": {"get"},
    "/v1/datasets/{dataset_id}/parts/{part}.npz": {"get"},
    "/v1/jobs": {"get", "post"},
    "/v1/jobs/estimate": {"post"},
    "/v1/jobs/{job_id}": {"get", "patch", "delete"},
    "/v1/jobs/{job_id}/cancel": {"post"},
    "/v1/jobs/{job_id}/events": {"get"},
    "/v1/jobs/{job_id}/runs": {"get"},
    "/v1/jobs/{job_id}/metrics": {"get"},
    "/v1/jobs/{job_id}/logs": {"get"},
    "/v1/jobs/{job_id}/report": {"get"},
    "/v1/jobs/{job_id}/students": {"get"},
    "/v1/jobs/{job_id}/best": {"get"},
    "/v1/runs/{run_id}/log": {"get"},
    "/v1/students": {"get"},
    "/v1/students/{student_id}": {"get", "patch", "delete"},
    "/v1/students/{student_id}/files/{path}": {"get"},
    "/v1/students/{student_id}/archive": {"get"},
    "/v1/keys": {"get", "post"},
    "/v1/keys/{key_id}": {"get", "delete"},
    "/v1/methods": {"get"},
    "/v1/networks": {"get"},
    "/v1/workers": {"get"},
    "/v1/workers/{worker_id}/drain": {"post", "delete"},
    "/v1/version": {"get"},
    "/healthz": {"get"},
    "/readyz": {"get"},
    "/metrics": {"get"},
    "/v1/diagnosis": {"get"},
}


def test_the_openapi_document_names_every_route_once(client: TestClient) -> None:
    document = json.loads(client.get("/openapi.json").content)
    found = {path: set(methods) for path, methods in document["paths"].items()}
    assert found == ROUTES
    names = [
        method["operationId"] for path in document["paths"].values() for method in path.values()
    ]
    assert len(set(names)) == len(names)


def test_the_docs_need_no_outside_address(client: TestClient) -> None:
    page = client.get("/docs").text
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert loaded
    for address in loaded:
        assert address.startswith("/")
        assert client.get(address).status_code == 200
    assert "http" not in re.sub(r"window\.location\.origin", "", page)


def test_the_process_and_its_parts_answer(client: TestClient, stage: Stage) -> None:
    assert client.get("/healthz").json() == {"status": "ok"}
    stage.worker()
    response = client.get("/readyz")
    assert response.status_code == 200
    assert response.json() == {
        "status": "ready",
        "checks": {"database": "ok", "storage": "ok", "broker": "none", "workers": 1},
    }


def test_without_its_storage_the_service_is_not_ready(
    client: TestClient, settings: Settings
) -> None:
    def is_not_ready() -> bool:
        # The service makes the folder when it starts, and may be about to.
        shutil.rmtree(settings.data_dir / "storage", ignore_errors=True)
        return client.get("/readyz").status_code == 503

    waiting.until(is_not_ready, what="the answer that the storage is gone")
    response = client.get("/readyz")
    assert (response.status_code, response.json()["status"]) == (503, "not_ready")
    assert response.headers["retry-after"]
    assert client.get("/healthz").status_code == 200


def test_a_database_that_is_away_answers_503_until_it_is_back(tmp_path: Path) -> None:
    with servers.postgres() as server:
        url = servers.fresh_postgres_database(server)
        migrate.upgrade(url)
        settings = Settings(data_dir=tmp_path, database_url=url)
        app = create_app(settings)
        opened = TestClient(app)
        client = opened.__enter__()
        assert client.get("/v1/jobs").status_code == 200
    for method, path in (("GET", "/v1/jobs"), ("GET", "/v1/jobs/x"), ("POST", "/v1/jobs/x/cancel"),
                         ("HEAD", f"/v1/blobs/{'a' * 64}")):  # fmt: skip
        response = client.request(method, path)
        assert response.status_code == 503, response.text
        assert response.headers["retry-after"]
        assert response.headers["content-type"] == "application/problem+json"
    ready = client.get("/readyz")
    assert ready.status_code == 503
    assert ready.json()["checks"]["database"].startswith("away")
    assert client.get("/healthz").status_code == 200
    opened.__exit__(None, None, None)


def test_methods_are_described(client: TestClient) -> None:
    described = {item["kind"]: item for item in client.get("/v1/methods").json()["data"]}
    assert set(described) == {method.kind for method in METHODS}
    for item in described.values():
        assert {"object", "summary", "formula", "source", "needs", "schema"} <= set(item)
    assert "temperature" in described["soft_targets"]["schema"]["properties"]


def test_networks_are_found_by_family_name_and_size(client: TestClient, stage: Stage) -> None:
    rows = [("timm", "resnet18", 11, 1), ("timm", "Resnet50", 25, 2), ("builtin", "mlp_s", 3, 1)]
    stage.write(workers.publish_networks, rows)

    def names(query: str) -> list[str]:
        return [item["name"] for item in client.get(f"/v1/networks?{query}").json()["data"]]

    assert names("") == ["mlp_s", "Resnet50", "resnet18"]
    assert names("family=timm&max_parameters=11") == ["resnet18"]
    assert names("query=RESNET") == ["Resnet50", "resnet18"]
    assert names("query=p_") == ["mlp_s"]
    assert names("query=%25") == []
    assert names("limit=1&after=builtin/mlp_s") == ["Resnet50"]


def test_the_version_is_the_packages(client: TestClient) -> None:
    assert client.get("/v1/version").json() == {
        "object": "version", "version": __version__, "api": "v1",
    }  # fmt: skip


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.9.9.9"])
def test_without_keys_the_service_listens_to_this_machine(host: str) -> None:
    program.refuse_open_doors(Settings(host=host))


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.5", "example.org"])  # noqa: S104  that it's refused is what is tested
def test_without_keys_the_service_listens_to_nobody_else(host: str) -> None:
    with pytest.raises(ValueError, match="loopback"):
        program.refuse_open_doors(Settings(host=host))


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::"])  # noqa: S104  keys guard it
def test_with_keys_the_service_may_listen_to_anybody(host: str) -> None:
    program.refuse_open_doors(Settings(host=host, auth="keys"))
