"""Bring the database to this version's tables; the storage, too, if it can be made."""

from __future__ import annotations

import argparse

from core import logs, migrate
from core.settings import Settings


def add(parser: argparse.ArgumentParser) -> None:
    """It has no options."""
    parser.set_defaults(run=run)


def run(_arguments: argparse.Namespace, settings: Settings) -> int:
    """Migrate, and end."""
    logs.configure(settings)
    migrate.upgrade(settings.database)
    return 0
