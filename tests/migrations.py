"""`python -m tests.migrations`: up, no difference from the tables, down; on both databases."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from alembic import command

from core import migrate
from tests import servers


def round_trip(url: str) -> None:
    """Migrate an empty database up, compare it with the tables, and down again."""
    config = migrate.config(url)
    command.upgrade(config, "head")
    command.check(config)
    command.downgrade(config, "base")


def main() -> int:
    """Check both databases."""
    with tempfile.TemporaryDirectory() as folder:
        round_trip(f"sqlite:///{Path(folder) / 'check.db'}")
    with servers.postgres() as url:
        round_trip(servers.fresh_postgres_database(url))
    sys.stdout.write("migrations: up, check and down on SQLite and PostgreSQL\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
