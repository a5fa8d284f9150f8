"""What must hold for the repository as a whole."""

from __future__ import annotations

import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import get_args

import pytest

from app.api import errors
from core.settings import Settings
from stillhouse.errors import StillhouseError
from stillhouse.spec.methods import METHODS
from stillhouse.spec.objective import ObjectiveTerm

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("stillhouse", "core", "app", "worker")
NAMELESS = {"utils", "util", "helpers", "helper", "common", "service", "manager", "misc"}
MAX_LINES = 300
LONG = {
    "constraints.txt": "a pin and its hashes for each package",
    "core/catalog.py": "what a teacher or dataset is, from its sending to its answer",
    "core/jobs.py": "the only writer of a job's status: each move beside the others",
    "core/tables.py": "all rows in one place, as the database has them",
    "deploy/requirements-api.txt": "pins and hashes, as constraints.txt has them",
    "deploy/requirements-worker.txt": "pins and hashes, as constraints.txt has them",
    "docs/deploy.md": "one manual, whose blocks are run in their order",
    "migrations/versions/0001_the_first_tables.py": "the first migration makes every table",
    "stillhouse/spec/variants.py": "what a sweep comes to, and which of its runs are shared",
    "worker/engine/networks/published.csv": "a row a network",
    "tests/app/api/test_jobs.py": "one resource",
    "tests/core/test_submissions.py": "one transaction, and every way to be refused by it",
    "tests/worker/engine/test_prepare.py": "one run, and all that it refuses",
    "tests/worker/engine/test_train.py": "one loop, from all sides",
    "tests/worker/engine/tie/test_identities.py": "one method and all that it must equal",
    "tests/worker/engine/proof/test_report.py": "one report, looked at from all sides",
}
"""Files over `MAX_LINES`, and why they stay whole."""


def tracked() -> list[str]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    return [path for path in listed.stdout.splitlines() if (ROOT / path).is_file()]


def every_error(kind: type[StillhouseError] = StillhouseError) -> list[type[StillhouseError]]:
    below = kind.__subclasses__()
    return [*below, *(found for each in below for found in every_error(each))]


@pytest.mark.parametrize("kind", every_error())
def test_every_error_has_a_status_and_a_code(kind: type[StillhouseError]) -> None:
    statuses = [errors.STATUS[parent] for parent in kind.__mro__ if parent in errors.STATUS]
    assert statuses
    assert statuses[0] in errors.TITLES
    assert re.fullmatch(r"[a-z]+(_[a-z]+)*", kind.code)


def test_every_objective_has_a_method() -> None:
    assert {method.spec for method in METHODS} == set(get_args(get_args(ObjectiveTerm)[0]))
    for method in METHODS:
        assert method.kind in get_args(method.spec.model_fields["kind"].annotation)


def test_no_source_is_hidden_from_git() -> None:
    """A pattern in .gitignore once hid a package: it worked here and in no clone."""
    listed = subprocess.run(
        ["git", "ls-files", "--others", "--ignored", "--exclude-standard", *PACKAGES, "tests"],
        cwd=ROOT, check=True, capture_output=True, text=True,
    )  # fmt: skip
    assert not [path for path in listed.stdout.splitlines() if path.endswith(".py")]


@pytest.mark.parametrize(
    "path",
    [".env", "my.key", "secrets.tar", "secrets/s3/credentials", "docker-compose.override.yml"],
)
def test_what_the_manual_leaves_in_a_checkout_is_not_committed(path: str) -> None:
    asked = subprocess.run(["git", "check-ignore", "--quiet", path], cwd=ROOT, check=False)
    assert asked.returncode == 0


def test_no_module_is_named_after_nothing() -> None:
    places = (*PACKAGES, "tests", "migrations")  # a benchmark may well have a service to start
    modules = [Path(path) for path in tracked() if path.endswith(".py")]
    assert not [path for path in modules if path.parts[0] in places and path.stem in NAMELESS]


def test_long_files_say_why() -> None:
    lengths = {}
    for path in tracked():
        content = (ROOT / path).read_bytes()
        if b"\0" not in content:
            lengths[path] = content.count(b"\n")
    long = {path for path, lines in lengths.items() if lines > MAX_LINES}
    assert long <= set(LONG)


def test_no_file_names_a_host_of_packages() -> None:
    host = re.compile(r"pypi\.org|pythonhosted|index-url|extra-index|find-links|trusted-host")
    for path in tracked():
        if path in ("Makefile", "tests/test_repo.py"):  # options that keep hosts out; this search
            continue
        content = (ROOT / path).read_bytes()
        if b"\0" not in content:
            assert not host.search(content.decode()), path


def test_the_wheel_holds_the_client_only(tmp_path: Path) -> None:
    build = (
        "import sys; from hatchling.builders.wheel import WheelBuilder; "
        "print(list(WheelBuilder(sys.argv[1]).build(directory=sys.argv[2])))"
    )
    subprocess.run(
        [sys.executable, "-c", build, str(ROOT), str(tmp_path)], check=True, capture_output=True
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as opened:
        names = opened.namelist()
    tops = {name.partition("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"stillhouse"}
    assert "stillhouse/client.py" in names


@pytest.mark.parametrize(
    ("module", "strangers"),
    [
        ("app.main", ("torch", "torchvision", "timm", "numpy", "PIL", "pyarrow", "safetensors")),
        ("worker.supervisor", ("torch", "timm", "numpy", "fastapi", "starlette", "uvicorn")),
        (
            "stillhouse.cli.commands",
            ("torch", "sqlalchemy", "celery", "fastapi", "pydantic_settings"),
        ),
    ],
)
def test_a_process_loads_only_what_it_needs(module: str, strangers: tuple[str, ...]) -> None:
    look = f"import sys, {module}; print(sorted(set(sys.modules) & {set(strangers)!r}))"
    found = subprocess.run(
        [sys.executable, "-c", look], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert found.stdout.strip() == "[]"


def test_the_example_environment_names_every_setting() -> None:
    text = (ROOT / ".env.example").read_text()
    named = set(re.findall(r"STILLHOUSE_[A-Z0-9_]+(?==)", text))
    assert named == {f"STILLHOUSE_{name.upper()}" for name in Settings.model_fields}


def test_packages_are_where_the_architecture_says() -> None:
    for package in PACKAGES:
        assert (ROOT / package / "__init__.py").is_file()
