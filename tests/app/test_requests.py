"""The line that each request leaves in the log."""

import logging
from collections.abc import Callable

import pytest
from starlette.testclient import TestClient

from app.main import create_app
from core import keys, logs
from core.db import Database
from core.settings import Settings

Lines = Callable[[], list[logging.LogRecord]]


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    return sqlite_url


@pytest.fixture
def lines(caplog: pytest.LogCaptureFixture) -> Lines:
    caplog.set_level(logging.INFO, logger="app.requests")
    caplog.handler.addFilter(logs._complete)
    return lambda: [each for each in caplog.records if each.name == "app.requests"]


def test_a_request_leaves_one_line_with_its_route_and_no_address(
    client: TestClient, lines: Lines
) -> None:
    response = client.get("/v1/jobs/job_secret?after=secret", headers={"prefer": "secret"})
    (line,) = lines()
    about = vars(line)
    assert (about["method"], about["route"], about["status"]) == ("GET", "/v1/jobs/{job_id}", 404)
    assert about["bytes_out"] == len(response.content)
    assert about["milliseconds"] > 0
    assert about["request_id"] == response.headers["x-request-id"] == response.json()["request_id"]
    assert "secret" not in line.getMessage()


def test_health_checks_and_scrapes_leave_none(client: TestClient, lines: Lines) -> None:
    for path in ("/healthz", "/readyz", "/metrics"):
        client.get(path)
    assert lines() == []


def test_the_line_names_the_key_and_holds_nothing_of_it(
    database: Database, settings: Settings, lines: Lines
) -> None:
    key = keys.draw()
    with database.write() as session:
        keys.add(session, key, tenant="default", scopes=["read"], name="reader")
    app = create_app(settings.model_copy(update={"auth": "keys"}))
    with TestClient(app, headers={"authorization": f"Bearer {key}"}) as client:
        assert client.get("/v1/jobs").status_code == 200
        assert client.get("/v1/jobs", headers={"authorization": "Bearer no"}).status_code == 401
    good, bad = lines()
    presented = keys.read(key)
    assert presented is not None
    assert vars(good)["key"] == presented.id
    assert "key" not in vars(bad)
    assert key[-20:] not in str(vars(good))


def test_what_is_logged_in_a_route_carries_the_request_id(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    app = create_app(settings)

    @app.get("/told")
    def told() -> None:
        logging.getLogger("a route").warning("here")

    caplog.handler.addFilter(logs._complete)
    with TestClient(app) as client:
        response = client.get("/told")
    (line,) = [each for each in caplog.records if each.name == "a route"]
    assert vars(line)["request_id"] == response.headers["x-request-id"]


def test_an_unexpected_error_is_counted_and_named_by_its_request(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    app = create_app(settings)

    @app.get("/broken")
    def broken() -> None:
        raise ZeroDivisionError

    caplog.handler.addFilter(logs._complete)
    with TestClient(app, raise_server_exceptions=False) as client:
        response = client.get("/broken")
        text = client.get("/metrics").text
    assert 'http_requests_total{method="GET",route="/broken",status="500"} 1.0' in text
    assert 'http_errors_total{code="internal"} 1.0' in text
    (line,) = [each for each in caplog.records if each.name == "app.api.errors"]
    assert vars(line)["request_id"] == response.json()["request_id"]
