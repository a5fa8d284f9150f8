"""`stillhouse`, the command: the client with progress bars, for people and for scripts.

The service is the one at STILLHOUSE_URL (default http://127.0.0.1:8000), with the key in
STILLHOUSE_KEY. Exit codes are listed in `stillhouse.cli.terminal`.
"""

from __future__ import annotations

import sys


def main() -> None:
    """The entry point."""
    try:
        # Loading takes long enough for a Ctrl-C, which deserves no traceback.
        from stillhouse.cli import commands  # noqa: PLC0415 - see above

        # So that help says the same where the command is `python -m stillhouse.cli`.
        commands.app(prog_name="stillhouse")
    except KeyboardInterrupt:
        sys.exit(130)
