import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from app import doors
from stillhouse import errors
from stillhouse.client import Client
from tests.servers import Service


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    started = Service(tmp_path_factory.mktemp("guarded"), auth="keys")
    started.start()
    yield started
    started.stop()


def command(service: Service, key: str | None, *words: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"STILLHOUSE_URL": service.url} | {"STILLHOUSE_KEY": key or ""}
    return subprocess.run(
        [sys.executable, "-m", "stillhouse.cli", *words],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_guarded_service_opens_to_its_generated_key_and_to_those_made_with_it(
    guarded: Service, tmp_path: Path
) -> None:
    path = guarded.folder / "admin.key"
    admin = path.read_text().strip()
    assert str(path) in guarded.log()
    assert admin not in guarded.log()
    refused = command(guarded, None, "jobs")
    assert refused.returncode == 3
    assert "set STILLHOUSE_KEY" in refused.stderr

    made = command(guarded, admin, "keys", "create", "--name", "lab")
    submitter = made.stdout.strip()
    assert made.returncode == 0
    assert command(guarded, submitter, "keys", "create").returncode == 3
    with Client(guarded.url, key=submitter) as client:
        (tmp_path / "rows").write_bytes(b"rows")
        blob = client.put_blob(tmp_path / "rows")
        spec = {"name": "d", "source": {"blob": blob}}
        made_by = client.create_dataset(spec)["created_by"]
        listed = command(guarded, admin, "keys", "list", "--json")
        assert json.loads(listed.stdout)[0]["id"] == made_by
        assert command(guarded, admin, "keys", "revoke", made_by).returncode == 0
        with pytest.raises(errors.Unauthorized):
            client.create_dataset(spec)
    (mine,) = [key for key in json.loads(listed.stdout) if key["name"] == "admin"]
    kept = command(guarded, admin, "keys", "revoke", mine["id"])
    assert kept.returncode == 3
    assert "last_admin_key" in kept.stderr


def test_who_tries_keys_is_counted_by_address_and_not_by_what_it_says_of_itself(
    guarded: Service,
) -> None:
    def attempt(number: int) -> int:
        forged = {"authorization": "Bearer wrong", "x-forwarded-for": f"192.0.2.{number}"}
        return httpx.get(f"{guarded.url}/v1/jobs", headers=forged).status_code

    said = [attempt(number) for number in range(doors.MAX_WRONG + 2)]
    assert said[-1] == 429
    admin = (guarded.folder / "admin.key").read_text().strip()
    with Client(guarded.url, key=admin) as client:
        assert list(client.keys())
