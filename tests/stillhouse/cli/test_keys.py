from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from tests.stillhouse.cli.conftest import blobs, run, sent
from tests.stillhouse.conftest import Answer, Script, as_json

KEY = "key_01jd0000000000000000000000"
SECRET = "sth_01jd0000000000000000000000_x_y"
PROBLEM = {"status": 401, "code": "unauthorized", "detail": "Send a key of this service."}


def key(**fields: Any) -> dict[str, Any]:
    made = {"object": "key", "id": KEY, "name": "lab", "tenant": "default", "scopes": ["submit"]}
    when = {"created_at": "2026-01-02T03:04:05.000Z", "last_used_at": None, "revoked_at": None}
    return made | when | fields


def test_a_key_is_printed_alone_and_once(script: Script) -> None:
    script.on("/v1/keys", as_json(key(key=SECRET), 201))
    done = run(script, "keys", "create", "--name", "lab", "--scope", "admin", "--tenant", "birds")
    assert (done.returncode, done.stdout) == (0, f"{SECRET}\n")
    assert KEY in done.stderr
    assert SECRET not in done.stderr
    spec = sent(script, "/v1/keys")
    assert spec == {"name": "lab", "scopes": ["admin"], "tenant": "birds"}


def test_keys_are_listed_without_their_secrets(script: Script) -> None:
    revoked = key(revoked_at="2026-02-03T04:05:06.000Z", scopes=["read", "submit"])
    script.on("/v1/keys", as_json({"data": [key(), revoked], "has_more": False}))
    done = run(script, "keys", "list")
    lines = done.stdout.splitlines()
    assert lines[1].split() == [KEY, "submit", "default", "2026-01-02", "03:04", "lab"]
    assert "2026-02-03 04:05" in lines[2]
    assert "read,submit" in lines[2]
    assert len(json.loads(run(script, "keys", "list", "--json").stdout)) == 2


def test_a_key_is_revoked_by_its_id(script: Script) -> None:
    script.on(f"/v1/keys/{KEY}", Answer(204))
    done = run(script, "keys", "revoke", KEY)
    assert (done.returncode, done.stdout) == (0, "")
    assert [one.method for one in script.requests] == ["DELETE"]


def test_without_a_key_a_command_says_where_it_is_read_from(script: Script, tmp_path: Path) -> None:
    problem = {"Content-Type": "application/problem+json"}
    script.on("/v1/jobs", Answer(401, json.dumps(PROBLEM).encode(), problem))
    done = run(script, "jobs")
    assert (done.returncode, done.stdout) == (3, "")
    assert done.stderr == "error: Send a key of this service. (unauthorized)\n"
    # A push begins with a HEAD, whose answer has no body to say it.
    (tmp_path / "digits.npz").write_text("rows")
    script.on(blobs("rows")[0], Answer(401))
    done = run(script, "push", "dataset", str(tmp_path / "digits.npz"))
    assert done.returncode == 3
    assert "set STILLHOUSE_KEY" in done.stderr
    assert hashlib.sha256(b"rows").hexdigest() in script.requests[-1].path


def test_who_is_slowed_down_for_wrong_keys_is_told_at_once(script: Script) -> None:
    problem = {"status": 429, "code": "too_many_attempts", "detail": "Wait.", "retry_after": 60}
    headers = {"Content-Type": "application/problem+json", "Retry-After": "60"}
    answer = Answer(429, json.dumps(problem).encode(), headers | {"x-should-retry": "false"})
    script.on("/v1/jobs", answer)
    done = run(script, "jobs")
    assert done.returncode == 3
    assert "Wait. (too_many_attempts)" in done.stderr
    assert len(script.requests) == 1


@pytest.mark.parametrize("command", ["version", "doctor"])
def test_a_key_that_can_be_none_ends_with_2_and_is_not_echoed(script: Script, command: str) -> None:
    done = run(script, command, STILLHOUSE_KEY="s3\ncret")
    assert (done.returncode, script.requests) == (2, [])
    said = done.stdout + done.stderr
    assert "STILLHOUSE_KEY holds a character that no key has" in said
    assert "cret" not in said
