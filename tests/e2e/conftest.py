"""The whole service as processes, in both ways to be woken, and material for a small job."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from stillhouse.client import Client
from stillhouse.spec import InputSpec, NetworkSpec
from tests import servers
from tests.compose.stack import Elsewhere
from tests.servers import Service
from worker.engine import networks

TEACHER = NetworkSpec(family="builtin", name="resnet14")
OWN_SERVICES = ["sqlite-polling", "postgresql-celery"]
ELSEWHERE = os.environ.get("STILLHOUSE_TEST_STACK")
INPUT = {"size": [8, 8], "channels": "gray", "mean": [0.5], "std": [0.5]}


@pytest.fixture(scope="session")
def digits() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The first 600 of scikit-learn's digits: (n, 8, 8) uint8 and labels."""
    return read_digits()


@pytest.fixture(scope="session")
def material(
    digits: tuple[NDArray[np.uint8], NDArray[np.int64]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A folder with digits.npz and teacher.pt, as a user has them."""
    return write_material(tmp_path_factory.mktemp("material"), *digits)


@pytest.fixture(scope="session", params=["composed"] if ELSEWHERE else OWN_SERVICES)
def service(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service | Elsewhere]:
    """A running service of each kind, or the composed one; its jobs are the tests' own."""
    if ELSEWHERE:
        yield Elsewhere(ELSEWHERE)
        return
    running = Service(tmp_path_factory.mktemp("service"), **settings_of(request))
    running.start()
    yield running
    running.stop()


def settings_of(request: pytest.FixtureRequest) -> dict[str, Any]:
    """The settings of one of the two ways to be woken."""
    if request.param == "sqlite-polling":
        return {}
    return {
        "database_url": servers.fresh_postgres_database(request.getfixturevalue("postgres_server")),
        "broker_url": request.getfixturevalue("broker_url"),
    }


@pytest.fixture
def client(service: Service) -> Iterator[Client]:
    with Client(service.url) as opened:
        yield opened


@pytest.fixture(scope="session")
def prepared(service: Service, material: Path) -> dict[str, str]:
    """A ready dataset and a ready teacher of the running service."""
    with Client(service.url) as opened:
        return push(opened, material)


@pytest.fixture
def lone_service(tmp_path: Path) -> Iterator[Callable[..., Service]]:
    """Starts services of a test's own: SQLite, no broker, short leases."""
    started: list[Service] = []

    def start(**settings: Any) -> Service:
        folder = tmp_path / f"service-{len(started)}"
        folder.mkdir()
        defaults = {"lease_seconds": 6, "heartbeat_seconds": 1, "checkpoint_seconds": 0.3}
        running = Service(folder, **(defaults | settings))
        started.append(running)
        running.start()
        return running

    yield start
    for running in started:
        running.stop()


def read_digits() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The first 600 of scikit-learn's digits: (n, 8, 8) uint8 and labels."""
    found = load_digits()
    pixels = np.round(found.images[:600] * 255 / 16).astype(np.uint8)
    return pixels, found.target[:600].astype(np.int64)


def write_material(folder: Path, pixels: NDArray[np.uint8], labels: NDArray[np.int64]) -> Path:
    """Make digits.npz and teacher.pt in a folder."""
    np.savez(folder / "digits.npz", x=pixels, y=labels)
    torch.manual_seed(7)
    teacher = networks.build(TEACHER, classes=10, fed=InputSpec(size=(8, 8), channels="gray"))
    _train(teacher, pixels, labels)
    torch.save({"state_dict": teacher.state_dict()}, folder / "teacher.pt")
    return folder


def push(client: Client, material: Path) -> dict[str, str]:
    """Upload dataset and teacher and wait until both are ready."""
    dataset = client.create_dataset(
        {"name": "digits", "source": {"blob": client.put_blob(material / "digits.npz")}}
    )
    teacher = client.create_teacher(
        {
            "name": "resnet14",
            "network": TEACHER.model_dump(mode="json"),
            "weights": {"blob": client.put_blob(material / "teacher.pt")},
            "input": INPUT,
        }
    )
    for made in (dataset, teacher):
        ready = client.wait_ready(made["id"])
        assert ready["status"] == "ready", ready["error"]
    return {"dataset": dataset["id"], "teacher": teacher["id"]}


def job_spec(prepared: dict[str, str], **changes: Any) -> dict[str, Any]:
    """A small deterministic job."""
    return {
        "teachers": [{"id": prepared["teacher"]}],
        "dataset": prepared["dataset"],
        "students": [{"name": "small", "network": {"family": "builtin", "name": "resnet8"}}],
        "training": {"epochs": 2, "batch_size": 32, "deterministic": True},
        **changes,
    }


def npz(x: NDArray[Any], y: NDArray[Any]) -> bytes:
    """Images and labels as the bytes of an npz."""
    buffer = io.BytesIO()
    np.savez(buffer, x=x, y=y)
    return buffer.getvalue()


def _train(network: torch.nn.Module, pixels: NDArray[np.uint8], labels: NDArray[np.int64]) -> None:
    images = (torch.from_numpy(pixels).float().div(255).unsqueeze(1) - 0.5) / 0.5
    targets = torch.from_numpy(labels)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    network.train()
    for start in range(0, 12 * 300, 60):
        batch = slice(start % 300, start % 300 + 60)
        loss = torch.nn.functional.cross_entropy(network(images[batch]), targets[batch])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own
        optimizer.step()
    network.eval()
