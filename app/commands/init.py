"""Make the secrets of a deployment: what is there stays, what is missing is made."""

from __future__ import annotations

import argparse
import configparser
import json
import secrets
import sys
from collections.abc import Callable
from pathlib import Path

from app import secret_files
from core import keys
from core.settings import Settings

# Anybody may read a file, since those who do run as users of their own (PostgreSQL's, Redis's,
# ours). Each folder is a volume of its own instead, which only the containers mount that need it.
MODE = 0o444

# Celery's transport needs scripts and nothing that an operator would: no CONFIG, KEYS or FLUSHALL.
REDIS_CONF = """\
user default on >{password} ~* &* +@all -@admin -@dangerous +info
appendonly yes
appendfsync everysec
maxmemory-policy noeviction
"""
CREDENTIALS = """\
[default]
aws_access_key_id = {id}
aws_secret_access_key = {secret}
"""
NEXT = """\
The secrets of this deployment are in {folder}: {new} made now, {old} were there already.
Back this folder up: the database opens with nothing else.
The first API key is in {folder}/admin/admin.key. To use it:
  export STILLHOUSE_KEY=$(docker compose exec api cat {folder}/admin/admin.key)
"""


def add(parser: argparse.ArgumentParser) -> None:
    """The folder."""
    parser.add_argument(
        "--secrets", type=Path, required=True, metavar="FOLDER", help="where the secrets go"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace, _settings: Settings) -> int:
    """Make what is missing, and say where it is; the secrets themselves are never printed.

    Raises `ValueError` or `OSError`, with advice, if a file can't be made.
    """
    folder = _Folder(arguments.secrets)
    _database(folder)
    _broker(folder)
    _store(folder)
    folder.file("admin/admin.key", keys.draw)
    folder.file("metrics/metrics.key", keys.draw)
    folder.file("grafana/admin_password", _password)
    sys.stdout.write(NEXT.format(folder=folder.path, new=folder.new, old=folder.old))
    return 0


def _database(folder: _Folder) -> None:
    url = "service/stillhouse_database_url"
    password = folder.source("db/postgres_password", _password, made_from_it=[url])
    folder.file(url, lambda: f"postgresql://stillhouse:{password}@db:5432/stillhouse")


def _broker(folder: _Folder) -> None:
    conf, url = "redis/redis.conf", "service/stillhouse_broker_url"
    password = folder.source("redis/redis_password", _password, made_from_it=[conf, url])
    folder.file(conf, lambda: REDIS_CONF.format(password=password))
    folder.file(url, lambda: f"redis://:{password}@redis:6379/0")


def _store(folder: _Folder) -> None:
    identities = "s3/s3.json"
    text = folder.source("s3/credentials", _credentials, made_from_it=[identities])
    folder.file(identities, lambda: _identities(text))


def _identities(credentials: str) -> str:
    """The same key pair, as SeaweedFS reads it."""
    parsed = configparser.ConfigParser()
    parsed.read_string(credentials)
    pair = parsed["default"]
    known = {"accessKey": pair["aws_access_key_id"], "secretKey": pair["aws_secret_access_key"]}
    identity = {"name": "stillhouse", "credentials": [known], "actions": ["Admin"]}
    return json.dumps({"identities": [identity]}, indent=2)


def _credentials() -> str:
    return CREDENTIALS.format(id=secrets.token_hex(10), secret=_password())


def _password() -> str:
    return secrets.token_urlsafe(32)  # stands in a URL as it is


class _Folder:
    """Files that are made once, and how many were."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.new = 0
        self.old = 0

    def file(self, name: str, make: Callable[[], str]) -> str:
        """The text of a file, which is made if it isn't there.

        Raises `ValueError` if it's empty: who reads it would run without a secret.
        """
        text, is_new = secret_files.keep(self.path / name, lambda: f"{make().strip()}\n", mode=MODE)
        if not text.strip():
            message = f"{self.path / name} is empty; delete it and run this again"
            raise ValueError(message)
        self.new += is_new
        self.old += not is_new
        return text.strip()

    def source(self, name: str, make: Callable[[], str], *, made_from_it: list[str]) -> str:
        """The text of a file that others are made from.

        Raises `ValueError` if they are there without it: a new one would contradict them.
        """
        others = [other for other in made_from_it if (self.path / other).exists()]
        if others and not (self.path / name).exists():
            message = (
                f"{self.path / name} is missing, and {' and '.join(others)} was made from it: "
                "bring it back from a backup"
            )
            raise ValueError(message)
        return self.file(name, make)
