"""docs/deploy.md, followed to the letter: `make compose-test` runs it; needs docker compose.

Its `bash` blocks run in their order, in one shell and in an empty folder, over a project of their
own. Only the port, the paths of the checkout and the project's name are other than printed.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from tests import waiting
from tests.compose.stack import Stack
from tests.servers import CHECKOUT

PROJECT = os.environ.get("STILLHOUSE_TEST_PROJECT", "stillhouse-manual")


def main() -> int:
    """Follow it, and look whether there is a student in the end."""
    stack = Stack(PROJECT)
    stack.compose("down", "--volumes")
    try:
        with tempfile.TemporaryDirectory() as folder:
            follow(stack, Path(folder))
    finally:
        stack.compose("down", "--volumes")
    return 0


def follow(stack: Stack, folder: Path) -> None:
    """Run what is printed.

    Raises `AssertionError` if a line fails, or if no student was downloaded.
    """
    done = subprocess.run(
        ["bash", "-c", script(stack)],
        cwd=folder, check=False, env=os.environ | stack.settings | {
            "COMPOSE_PROJECT_NAME": stack.project,
            "COMPOSE_FILE": str(CHECKOUT / "docker-compose.yml"),
            "PYTHONPATH": str(CHECKOUT),
        },
    )  # fmt: skip
    assert done.returncode == 0, "a line of docs/deploy.md failed"
    assert (folder / "first-job" / "student" / "model.safetensors").is_file()
    waiting.until(stack.is_ready, seconds=120, what="readiness with every secret made anew")
    sys.stdout.write("PASS docs/deploy.md, followed to the letter, ends with a student\n")


def script(stack: Stack) -> str:
    """The blocks, each said before it is run."""
    text = (CHECKOUT / "docs" / "deploy.md").read_text()
    text = text.replace("http://127.0.0.1:8000", stack.url)
    text = text.replace(".venv/bin/", f"{CHECKOUT}/.venv/bin/")
    blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    # Said as printed, not as expanded: a shell's trace would show the keys.
    return "set -euo pipefail\n" + "".join(
        f"printf '\\n%s' {shlex.quote(block)}\n{block}" for block in blocks
    )


if __name__ == "__main__":
    sys.exit(main())
