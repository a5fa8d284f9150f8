"""The composed service, driven by `docker compose` from outside, as an operator would."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

import httpx

from tests import servers, waiting
from tests.servers import CHECKOUT

START_SECONDS = 300.0


class Stack:
    """One project of docker compose, with a port of its own.

    Raises `FileNotFoundError` if there is no docker on the PATH.
    """

    def __init__(self, project: str, *, files: tuple[str, ...] = ("docker-compose.yml",)) -> None:
        docker = shutil.which("docker")
        if docker is None:
            message = "There is no `docker` on the PATH; the composed service needs it."
            raise FileNotFoundError(message)
        self.docker = docker
        self.project = project
        self.port = servers.free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.settings: dict[str, str] = {"STILLHOUSE_PORT": str(self.port)}
        self.files = files

    def compose(self, *arguments: str, given: bytes | None = None) -> str:
        """Run one of compose's commands, and return what it printed.

        Raises:
            AssertionError: if it fails, with the end of what it said.
        """
        files = [word for name in self.files for word in ("-f", name)]
        return self.run("compose", "--project-name", self.project, *files, *arguments, given=given)

    def run(self, *arguments: str, given: bytes | None = None) -> str:
        """Run one of docker's commands, and return what it printed.

        Raises:
            AssertionError: if it fails, with the end of what it said.
        """
        done = subprocess.run(
            [self.docker, *arguments],
            cwd=CHECKOUT, env=os.environ | self.settings, input=given, capture_output=True,
            check=False,
        )  # fmt: skip
        said = (done.stdout + done.stderr).decode(errors="replace")[-3000:]
        assert done.returncode == 0, f"docker {' '.join(arguments)} failed:\n{said}"
        return done.stdout.decode(errors="replace")

    def up(self, *arguments: str) -> None:
        """Start all that isn't running, and wait until the API is ready."""
        self.compose("up", "--detach", *arguments)
        waiting.until(self.is_ready, seconds=START_SECONDS, what="readiness")

    def is_ready(self) -> bool:
        """Whether the API is, and with it the database."""
        return _status(f"{self.url}/readyz") == 200

    def key(self) -> str:
        """The first key."""
        return self.inside("api", "cat", "/secrets/admin/admin.key").strip()

    def inside(self, service: str, *command: str, given: bytes | None = None) -> str:
        """Run a command in a service's first container."""
        return self.compose("exec", "-T", service, *command, given=given)

    def containers(self, service: str) -> list[str]:
        """Names of the running containers of a service."""
        found = self.run(
            "ps", "--format", "{{.Names}}", "--filter", f"name=^{self.project}-{service}-"
        )
        return sorted(found.split())

    def bring(self, path: Path) -> str:
        """Put a file where the service may take it from; its file:// URI."""
        place = f"/data/imports/{path.name}"
        self.inside("api", "sh", "-c", f"cat > {place}", given=path.read_bytes())
        return f"file://{place}"


class Elsewhere:
    """A service that runs already, by STILLHOUSE_TEST_STACK: what its `Stack` says of itself."""

    def __init__(self, said: str) -> None:
        found: Mapping[str, str] = json.loads(said)
        self._stack = Stack(found["project"])
        self.url = found["url"]

    def bring(self, path: Path) -> str:
        """As a stack's."""
        return self._stack.bring(path)


def _status(url: str) -> int:
    try:
        return httpx.get(url, timeout=5).status_code
    except httpx.TransportError:
        return 0
