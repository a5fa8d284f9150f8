from __future__ import annotations

import socket
import time
from typing import Any

import pytest

from stillhouse import errors, problem
from stillhouse.client import Client
from tests.stillhouse.conftest import Answer, Script, as_json

JOB = "job_01jd0000000000000000000000"


def refusal(code: str, **more: Any) -> dict[str, Any]:
    return {
        "type": "about:blank",
        "title": "t",
        "status": 0,
        "code": code,
        "detail": "Do that.",
    } | more


def test_a_busy_service_is_asked_again_after_the_time_it_names(script: Script) -> None:
    busy = as_json(refusal("unavailable"), 503, Retry_After="0.3")
    script.on("/v1/version", busy, as_json({"version": "1"}))
    began = time.monotonic()
    with Client(script.url) as client:
        assert client.version() == {"version": "1"}
    assert time.monotonic() - began >= 0.3
    assert len(script.requests) == 2


def test_a_repeated_submission_carries_the_same_idempotency_key(script: Script) -> None:
    cut = Answer(201, b'{"id": "job_1"}', {"Content-Type": "application/json"}, sent=4)
    script.on("/v1/jobs", cut, as_json({"id": "job_1"}, 201))
    with Client(script.url) as client:
        assert client.submit({"dataset": "ds_1"}) == {"id": "job_1"}
        client.submit({"dataset": "ds_1"})
    first, again, other = [request.headers["Idempotency-Key"] for request in script.requests]
    assert first == again
    assert other != first


@pytest.mark.parametrize("status", [409, 503])
def test_a_service_that_says_so_is_not_asked_again(script: Script, status: int) -> None:
    script.on("/v1/version", as_json(refusal("conflict"), status, x_should_retry="false"))
    with Client(script.url) as client, pytest.raises(errors.Conflict):
        client.version()
    assert len(script.requests) == 1


def test_a_request_in_flight_is_asked_for_until_it_is_answered(script: Script) -> None:
    flying = as_json(refusal("request_in_flight"), 409)
    script.on("/v1/jobs", flying, as_json({"id": "job_1"}, 201))
    with Client(script.url) as client:
        assert client.submit({}) == {"id": "job_1"}


def test_no_worker_is_final_because_the_service_has_waited_for_one(script: Script) -> None:
    script.on("/v1/jobs/estimate", as_json(refusal("no_worker"), 503, Retry_After="1"))
    with Client(script.url) as client, pytest.raises(errors.NoWorker):
        client.estimate({})
    assert len(script.requests) == 1


@pytest.mark.parametrize(
    ("status", "code", "expected"),
    [
        (404, "not_found", errors.NotFound),
        (422, "not_found", errors.ReferenceNotFound),
        (422, "classes_differ", errors.ClassesDiffer),
        (409, "job_is_over", errors.JobIsOver),
        (422, "a_code_of_tomorrow", errors.Refused),
        (404, "", errors.NotFound),
    ],
)
def test_a_code_becomes_the_class_it_was_raised_as(
    script: Script, status: int, code: str, expected: type[errors.StillhouseError]
) -> None:
    script.on(f"/v1/jobs/{JOB}", as_json(refusal(code), status, x_should_retry="false"))
    with Client(script.url) as client, pytest.raises(errors.StillhouseError) as caught:
        client.job(JOB)
    assert type(caught.value) is expected
    assert problem.code_of(caught.value) == (code or caught.value.code)


def test_an_error_carries_fields_request_id_and_what_else_was_said(script: Script) -> None:
    found = [{"field": "seeds", "message": "too many"}, {"field": "name", "message": "bad"}]
    body = refusal("invalid_request", errors=found, request_id="r-1", allowed=["a"])
    script.on("/v1/jobs", as_json(body, 422))
    with Client(script.url) as client, pytest.raises(errors.SpecInvalid) as caught:
        client.submit({})
    error = caught.value
    assert (error.field, error.errors, error.detail) == ("seeds", found, "Do that.")
    assert error.extra == {"request_id": "r-1", "allowed": ["a"], "status": 422}


def test_an_answer_that_is_no_problem_document_still_has_a_name(script: Script) -> None:
    page = Answer(502, b"<html>", {"Content-Type": "text/html", "x-should-retry": "false"})
    script.on("/v1/version", page)
    with Client(script.url) as client, pytest.raises(errors.Unavailable, match="502 Bad Gateway"):
        client.version()


def test_a_wrong_address_is_given_up_on_soon_and_names_the_setting() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound and not listening: nobody else can take the port
        began = time.monotonic()
        client = Client(f"http://127.0.0.1:{taken.getsockname()[1]}")
        with client, pytest.raises(errors.Unavailable, match="STILLHOUSE_URL"):
            client.version()
    assert time.monotonic() - began < 4


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://host", "http://", "http://:8000"])
def test_what_is_no_address_is_refused_before_any_request(url: str) -> None:
    with pytest.raises(errors.Malformed, match="is no address"):
        Client(url)


def test_the_key_goes_into_the_authorization(script: Script) -> None:
    script.on("/v1/version", as_json({}))
    with Client(script.url, key="s3cret") as client:
        client.version()
    assert script.requests[0].headers["Authorization"] == "Bearer s3cret"


def test_a_key_may_end_in_a_newline(script: Script) -> None:
    script.on("/v1/version", as_json({}))
    with Client(script.url, key="s3cret\r\n") as client:
        client.version()
    assert script.requests[0].headers["Authorization"] == "Bearer s3cret"


@pytest.mark.parametrize("key", ["s3\ncret", "s3 cret", "s3\x00cret", "s3crét"])
def test_a_key_that_no_header_can_carry_is_refused_and_not_echoed(key: str) -> None:
    with pytest.raises(errors.MalformedKey) as caught:
        Client("http://127.0.0.1:1", key=key)
    assert "STILLHOUSE_KEY holds a character that no key has" in str(caught.value)
    assert "s3" not in str(caught.value)


def test_an_id_cannot_name_another_path(script: Script) -> None:
    with Client(script.url) as client, pytest.raises(errors.SpecInvalid):
        client.job("job_1/../../keys")
    assert script.requests == []
