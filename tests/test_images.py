"""What the two images are made of: the Dockerfile, and the packages that they install."""

from __future__ import annotations

import re

import pytest

from deploy import pins
from tests.compose import rendered


@pytest.mark.parametrize("image", list(pins.EXTRAS))
def test_an_image_installs_the_closure_of_its_extra_and_nothing_else(image: str) -> None:
    assert pins.place(image).read_text() == pins.requirements(image)


def test_the_apis_image_has_no_torch() -> None:
    names = set(pins.pinned(pins.place("api").read_text()))
    assert "fastapi" in names
    assert not {"torch", "timm", "numpy", "pillow", "pyarrow", "triton"} & names
    assert not [name for name in names if name.startswith("nvidia-")]


def test_the_dockerfile_ends_in_images_that_are_nobodys_root() -> None:
    stages = _stages()
    for target in ("api", "worker"):
        lines = stages[target]
        assert "USER 10001:10001" in lines
        for word in ("ENTRYPOINT", "HEALTHCHECK"):
            (line,) = [line for line in lines if line.startswith(word)]
            assert re.search(r'(ENTRYPOINT|CMD) \["python", ', line)
        assert not [line for line in lines if line.startswith("RUN")]  # what is built is copied in


def test_the_dockerfile_checks_hashes_and_fetches_nothing_else() -> None:
    text = (rendered.ROOT / "Dockerfile").read_text()
    assert text.count("--require-hashes") == text.count("pip --python") == 2
    assert not re.search(r"^ADD |curl|wget|apt-get|git clone", text, re.MULTILINE)
    assert "celery inspect" not in text


def test_the_build_sees_only_what_the_images_hold() -> None:
    lines = (rendered.ROOT / ".dockerignore").read_text().splitlines()
    assert "*" in lines
    allowed = {line[1:].rstrip("/") for line in lines if line.startswith("!")}
    copied = set(re.findall(r"^COPY (?:--chmod=\d+ )?([^\s-]\S*) ", _dockerfile(), re.MULTILINE))
    assert copied == (allowed - {"deploy/requirements-*.txt"}) | {
        "deploy/requirements-api.txt", "deploy/requirements-worker.txt",
    }  # fmt: skip


def _dockerfile() -> str:
    """Without continued lines."""
    return re.sub(r"\\\n\s*", "", (rendered.ROOT / "Dockerfile").read_text())


def _stages() -> dict[str, list[str]]:
    stages: dict[str, list[str]] = {}
    for line in _dockerfile().splitlines():
        if found := re.match(r"FROM \S+ AS (\w[\w-]*)", line):
            stages[found[1]] = []
        elif stages:
            stages[list(stages)[-1]].append(line)
    return stages
