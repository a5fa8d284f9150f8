"""`python -m app`: the service, and what an operator does with it."""

from __future__ import annotations

import argparse
import sys

from pydantic import ValidationError
from sqlalchemy.exc import DBAPIError

from app.commands import backup, init, migrate, restore, serve
from core import settings as settings_module
from core.db import trouble
from stillhouse.errors import StillhouseError

COMMANDS = {
    "serve": (serve, "serve the API, with one worker when no broker is configured (the default)"),
    "init": (init, "make the secrets of a deployment, and its first key"),
    "migrate": (migrate, "bring database and storage to this version"),
    "backup": (backup, "back up database and files into a folder"),
    "restore": (restore, "put a backup into an empty database and its storage"),
}


def main(given: list[str] | None = None) -> int:
    """Do what is asked for; without a word, serve."""
    arguments = _parser().parse_args(given)
    try:
        status: int = arguments.run(arguments, settings_module.load())
    except ValidationError as error:
        return _refuse(settings_module.explain(error))
    except StillhouseError as error:
        return _refuse(error.detail)
    except DBAPIError as error:
        if trouble(error) == "ours":
            raise
        return _refuse(f"the database failed, try again: {error.orig}")
    except (ValueError, OSError) as error:
        return _refuse(str(error))
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m app",
        description="The Stillhouse API, with one worker when no broker is configured.",
        epilog="Settings, from the environment:\n\n" + settings_module.describe(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    serve.add(parser)
    below = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name, (command, meaning) in COMMANDS.items():
        command.add(below.add_parser(name, help=meaning, description=command.__doc__))
    return parser


def _refuse(reason: str) -> int:
    sys.stderr.write(f"stillhouse: {reason}\n")
    return 2


if __name__ == "__main__":
    sys.exit(main())
