"""What the doctor says of services that are not well; a real one is in tests/e2e/test_eyes.py."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from email.utils import formatdate
from typing import Any

import pytest

from stillhouse import __version__
from tests.stillhouse.cli.conftest import run
from tests.stillhouse.conftest import Answer, Script, as_json

EMPTY = {"object": "list", "data": [], "has_more": False}


def well(script: Script, *findings: dict[str, Any]) -> None:
    """A service that is well, and says this of itself."""
    script.otherwise = Answer(200)  # an upload's address is known only when it's asked for
    script.on("/healthz", as_json({"status": "ok"}))
    script.on("/v1/version", as_json({"version": __version__}))
    script.on("/v1/jobs", as_json(EMPTY))
    script.on("/v1/students", as_json(EMPTY))
    script.on("/v1/diagnosis", as_json({"object": "diagnosis", "findings": list(findings)}))


def examine(script: Script) -> tuple[int, dict[str, dict[str, Any]]]:
    done = run(script, "doctor", "--json")
    assert "Traceback" not in done.stderr
    found = json.loads(done.stdout)["findings"]
    return done.returncode, {each["check"]: each for each in found}


def finding(check: str, status: str, remedy: str | None = None) -> dict[str, Any]:
    return {"check": check, "status": status, "message": f"About {check}.", "remedy": remedy}


def test_nothing_that_listens_ends_with_4(late_script: Script) -> None:
    code, found = examine(late_script)
    assert (code, set(found)) == (4, {"reach"})
    assert f"Nothing listens at {late_script.url}" in found["reach"]["message"]


@pytest.mark.parametrize(
    "answer", [Answer(404), Answer(200, b"<html>welcome"), as_json({"status": "fine"}), Answer(502)]
)
def test_what_is_not_stillhouse_is_told_from_it(script: Script, answer: Answer) -> None:
    script.on("/healthz", answer)
    code, found = examine(script)
    assert (code, "it is not Stillhouse" in found["reach"]["message"]) == (4, True)


@pytest.fixture
def chatter() -> Iterator[int]:
    """A port where something answers that speaks no HTTP."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(1024)
                    connection.sendall(b"220 mail.example ESMTP\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize(("scheme", "said"), [("http", "not Stillhouse"), ("https", "no TLS")])
def test_another_protocol_is_named(
    late_script: Script, chatter: int, scheme: str, said: str
) -> None:
    late_script.url = f"{scheme}://127.0.0.1:{chatter}"
    code, found = examine(late_script)
    assert code == 4
    assert said in found["reach"]["message"]


def test_an_address_that_is_none_is_told(late_script: Script) -> None:
    late_script.url = "nonsense"
    code, found = examine(late_script)
    assert (code, found["reach"]["remedy"]) == (4, "Correct STILLHOUSE_URL.")


def test_what_the_service_finds_is_passed_on_and_decides_the_exit_code(script: Script) -> None:
    well(script, finding("database", "ok"), finding("auth", "warn", "Set keys."))
    code, found = examine(script)
    assert code == 0
    assert {check: each["status"] for check, each in found.items()} == {
        "reach": "ok", "clock_here": "ok", "version": "ok", "key": "ok", "database": "ok",
        "auth": "warn", "upload": "ok", "download": "skip",
    }  # fmt: skip
    methods = [each.method for each in script.requests if each.path.startswith("/v1/blobs/")]
    assert methods == ["PUT", "HEAD", "DELETE"]  # nothing stays behind
    well(script, finding("workers", "fail", "Start one."))
    code, found = examine(script)
    assert (code, found["workers"]["remedy"]) == (1, "Start one.")


def test_people_read_a_table_with_remedies(script: Script) -> None:
    well(script, finding("workers", "fail", "Start one."))
    done = run(script, "doctor")
    assert done.returncode == 1
    row = next(line for line in done.stdout.splitlines() if line.startswith("FAIL  workers"))
    assert "About workers." in row
    assert "Start one." in done.stdout
    assert "failed" in done.stderr
    assert all(line == line.rstrip() for line in done.stdout.splitlines())


def test_another_version_and_another_time_are_warnings(script: Script) -> None:
    well(script)
    script.on("/healthz", as_json({"status": "ok"}, Date=formatdate(0, usegmt=True)))
    script.on("/v1/version", as_json({"version": "9.9.9"}))
    _, found = examine(script)
    assert (found["version"]["status"], found["clock_here"]["status"]) == ("warn", "warn")
    assert "9.9.9" in found["version"]["message"]
    assert "behind" in found["clock_here"]["message"]


def test_without_a_key_nothing_further_is_asked(script: Script) -> None:
    well(script)
    refusal = {"code": "unauthorized", "detail": "Send a key."}
    script.on("/v1/jobs", as_json(refusal, 401))
    code, found = examine(script)
    assert code == 1
    assert "STILLHOUSE_KEY" in found["key"]["remedy"]
    assert "/v1/diagnosis" not in {each.path for each in script.requests}


def test_a_database_that_is_away_is_named(script: Script) -> None:
    well(script)
    away = {"code": "unavailable", "detail": "The database is away."}
    checks = {"database": "away: OperationalError", "storage": "ok", "broker": "ok"}
    script.on("/v1/jobs", as_json(away, 503))
    script.on(
        "/readyz", as_json({"status": "not_ready", "checks": checks | {"workers": None}}, 503)
    )
    code, found = examine(script)
    assert (code, "storage" in found) == (1, False)
    assert found["database"]["status"] == found["key"]["status"] == "fail"
    assert "away: OperationalError" in found["database"]["message"]
    assert "Start it" in found["database"]["remedy"]


def test_a_key_that_may_not_look_inside_is_no_failure(script: Script) -> None:
    well(script)
    refusal = {"code": "scope_missing", "detail": "This takes admin."}
    script.on("/v1/diagnosis", as_json(refusal, 403))
    _, found = examine(script)
    assert (found["service"]["status"], "admin" in found["service"]["message"]) == ("skip", True)


def test_an_older_service_that_does_not_check_itself_is_no_failure(script: Script) -> None:
    well(script)
    script.on("/v1/diagnosis", as_json({"code": "not_found", "detail": "Nothing here."}, 404))
    _, found = examine(script)
    assert found["service"]["status"] == "skip"


def test_a_file_that_the_storage_does_not_hold_is_told_in_our_words(script: Script) -> None:
    well(script)
    student = {"id": "stu_1", "files": [{"path": "config.json", "bytes": 5, "sha256": "0" * 64}]}
    script.on("/v1/students", as_json(EMPTY | {"data": [student]}))
    script.on("/v1/students/stu_1/files/config.json", Answer(404))
    code, found = examine(script)
    assert (code, "books name" in found["download"]["message"]) == (1, True)
    assert "STILLHOUSE_STORAGE_URL" in found["download"]["remedy"]
    script.on("/v1/students/stu_1/files/config.json", Answer(403, b"<xml>"))
    _, found = examine(script)
    assert found["download"]["status"] == "fail"
    assert "developer.mozilla" not in found["download"]["message"]


def test_a_file_that_arrives_cut_is_a_failure(script: Script) -> None:
    well(script)
    student = {"id": "stu_1", "files": [{"path": "config.json", "bytes": 5, "sha256": "0" * 64}]}
    script.on("/v1/students", as_json(EMPTY | {"data": [student]}))
    script.on("/v1/students/stu_1/files/config.json", Answer(206, b"abc"))
    code, found = examine(script)
    assert (code, found["download"]["status"]) == (1, "fail")
    script.on("/v1/students/stu_1/files/config.json", Answer(206, b"abcde"))
    _, found = examine(script)
    assert found["download"]["status"] == "ok"
