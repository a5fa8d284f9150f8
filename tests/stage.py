"""A worker that is played: runs are claimed and ended with the functions that real ones use."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import select

from core import catalog, files, jobs, keys, leases, runs, students, submissions, workers
from core.db import Database
from core.leases import Lease
from core.storage import Storage
from core.submissions import Submission
from core.tables import Base, Dataset, Job, Run, Teacher
from stillhouse.spec import DatasetSpec, JobSpec, TeacherSpec

T = TypeVar("T", bound=Base)

CLASSES = ("cat", "dog", "owl")
INPUT = {"size": [8, 8], "channels": "gray", "mean": [0.5], "std": [0.25]}
NETWORK = {"family": "builtin", "name": "mlp", "options": {}}
STUDENT = {"name": "small", "network": NETWORK}
VALIDATION = {"accuracy": 0.75, "loss": 0.5}


def sha256(content: bytes) -> str:
    """A content's address."""
    return hashlib.sha256(content).hexdigest()


def job_spec(teacher: str, dataset: str, /, **fields: Any) -> dict[str, Any]:
    """The shortest job that works, and `fields`."""
    shortest = {"teachers": [{"id": teacher}], "dataset": dataset, "students": [STUDENT]}
    return shortest | fields


@dataclass(slots=True)
class Stage:
    """A database and a storage, and whoever acts on them."""

    database: Database
    storage: Storage
    devices: tuple[str, ...] = ("host", "auto", "cpu")

    def get(self, kind: type[T], key: Any) -> T:
        """A row as it is now."""
        with self.database.read() as session:
            found = session.get(kind, key)
        assert found is not None
        return found

    def status(self, job: str) -> str:
        """A job's status."""
        return self.get(Job, job).status

    def runs(self, job: str, kind: str | None = None) -> list[Run]:
        """A job's runs."""
        with self.database.read() as session:
            return runs.of_job(session, job, kind=kind)

    def put(self, content: bytes) -> dict[str, Any]:
        """Bytes in the storage, in nobody's name."""
        with contextlib.closing(self.storage.receive(sha256(content))) as incoming:
            incoming.write([content])
            incoming.keep()
        return {"sha256": sha256(content), "bytes": len(content)}

    def key(self, scope: keys.Scope = "admin", tenant: str = "default") -> dict[str, str]:
        """A key, as the header that shows it."""
        text = keys.draw()
        self.write(keys.add, text, tenant=tenant, scopes=[scope])
        return {"authorization": f"Bearer {text}"}

    def upload(self, content: bytes, tenant: str = "default") -> str:
        """Bytes in the storage, in a tenant's name."""
        file = self.put(content)
        with self.database.write() as session:
            files.note(session, file["sha256"], file["bytes"])
            files.use(session, file["sha256"], files.upload_owner(tenant), "upload")
        return str(file["sha256"])

    def validating_dataset(self, **fields: Any) -> str:
        """A dataset that nobody has looked at."""
        blob = self.upload(b"rows of " + repr(sorted(fields.items())).encode())
        spec = DatasetSpec.model_validate({"name": "birds", "source": {"blob": blob}} | fields)
        with self.database.write() as session:
            return catalog.create_dataset(session, "default", spec).id

    def validating_teacher(self, **fields: Any) -> str:
        """A teacher that nobody has looked at."""
        blob = self.upload(b"weights of " + repr(sorted(fields.items())).encode())
        default = {"name": "owl", "network": NETWORK, "weights": {"blob": blob}}
        spec = TeacherSpec.model_validate(default | fields)
        with self.database.write() as session:
            return catalog.create_teacher(session, "default", spec).id

    def dataset(self, *, rows: int = 60, classes: tuple[str, ...] = CLASSES, **facts: Any) -> str:
        """A dataset that is ready."""
        made = self.validating_dataset()
        self.end_well(self.take(), dataset_facts(rows, classes) | facts)
        return made

    def teacher(self, *, classes: tuple[str, ...] | None = CLASSES, **facts: Any) -> str:
        """A teacher that is ready."""
        made = self.validating_teacher()
        self.end_well(self.take(), teacher_facts(classes) | facts)
        return made

    def job(self, **fields: Any) -> str:
        """A job; with a teacher and a dataset that are ready, unless `fields` name others."""
        teacher = fields.pop("teacher", None) or self.teacher()
        dataset = fields.pop("dataset", None) or self.dataset()
        spec = JobSpec.model_validate(job_spec(teacher, dataset, **fields))
        with self.database.write() as session:
            return submissions.create(session, Submission("default", spec)).id

    def cancel(self, job: str) -> None:
        """What the route does."""
        with self.database.write() as session:
            jobs.cancel(session, catalog.get_locked(session, Job, "default", job))

    def worker(self) -> str:
        """A worker that lives."""
        with self.database.write() as session:
            made = workers.enrol(session, name="w", device="cpu", memory_bytes=5, software="1.2").id
            workers.seen(session, made, status="ready", run=None)
        return made

    def look(self, *, worker: str = "w1", lease_seconds: float = 60.0) -> Lease | None:
        """Claim the first run in line, if there is one."""
        with self.database.write() as session:
            return leases.take(
                session, worker=worker, device=self.devices[-1], devices=self.devices,
                lease_seconds=lease_seconds,
            )  # fmt: skip

    def take(self, *, worker: str = "w1", lease_seconds: float = 60.0) -> Lease:
        """Claim the first run in line."""
        lease = self.look(worker=worker, lease_seconds=lease_seconds)
        assert lease is not None, "there is no run to claim"
        return lease

    def beat(self, lease: Lease, step: int | None = None, steps: int = 100) -> leases.Order:
        """Send a heartbeat."""
        where = None if step is None else runs.Progress(step=step, steps=steps, epoch=1)
        with self.database.write() as session:
            return leases.beat(session, lease, where)

    def end_well(self, lease: Lease, result: dict[str, Any] | None = None) -> list[str] | None:
        """End a run with what a child of its kind would leave."""
        made, listed = self._made(lease.run)
        with self.database.write() as session:
            return leases.succeed(session, lease, made if result is None else result, listed)

    def fail(self, lease: Lease, code: str = "diverged", **more: Any) -> list[str] | None:
        """End a run badly."""
        with self.database.write() as session:
            return leases.fail(session, lease, {"code": code, "detail": f"It {code}."} | more)

    def checkpoint(self, lease: Lease, step: int, content: bytes) -> str:
        """Keep a checkpoint of a run."""
        file = self.put(content)
        with self.database.write() as session:
            files.note(session, file["sha256"], file["bytes"])
            files.use(session, file["sha256"], lease.run.id, "content")
            run = runs.held(session, lease.run.id, lease.fence)
            assert run is not None
            runs.add_checkpoint(session, run, step=step, sha256=file["sha256"], size=file["bytes"])
        return str(file["sha256"])

    def write(self, work: Callable[..., Any], *arguments: Any, **more: Any) -> Any:
        """One transaction around a function that takes a session first."""
        with self.database.write() as session:
            return work(session, *arguments, **more)

    def play(self, *, at_most: int = 1000) -> int:
        """Do what there is to do; returns how many runs that were."""
        for count in range(at_most):
            lease = self.look()
            if lease is None:
                return count
            self.end_well(lease)
        return at_most

    def play_until(self, kind: str) -> Lease:
        """Do what there is to do, and return the first claim of a kind."""
        while (lease := self.take()).run.kind != kind:
            self.end_well(lease)
        return lease

    def _made(self, run: Run) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        if run.kind == "intake":
            return self._taken_in(run)
        if run.kind == "train":
            return self._trained(run)
        if run.kind == "report":
            return self._reported(run)
        return {"precision": "fp32"}, []

    def _file(self, path: str, content: bytes) -> dict[str, Any]:
        return {"path": path} | self.put(content)

    def _taken_in(self, run: Run) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        if run.teacher is not None:
            named = self.get(Teacher, run.teacher).classes
            content = f"converted for {run.teacher}".encode()
            return teacher_facts(named or CLASSES), [self._file("model.safetensors", content)]
        parts = ("train.npz", "validation.npz", "test.npz")
        made = [self._file(name, f"{name} of {run.dataset}".encode()) for name in parts]
        return dataset_facts(), [*made, self._file("splits.json", b'{"train": [0]}')]

    def _trained(self, run: Run) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        value = 0.75 + 0.01 * (run.seed or 0) - (0.1 if run.arm == "no_teacher" else 0.0)
        content = f"weights of {run.id}".encode() * 100
        made = [self._file("model.safetensors", content), self._file("config.json", b"{}")]
        return {"validation": VALIDATION | {"accuracy": value}, "parameters": 12}, made

    def _reported(self, run: Run) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        with self.database.read() as session:
            trained = students.of_job(session, str(run.job))
        metrics = dict.fromkeys(("train", "validation", "test"), VALIDATION)
        latency = [{"batch": 1, "median_ms": 2.5}]
        arms = [
            {"student": s.name, "arm": s.arm, "students": [s.id], "latency": latency,
             "parameters": 12, "macs": 34}
            for s in trained
        ]  # fmt: skip
        made = [self._file(f"{s.id}/report.json", f"of {s.id}".encode()) for s in trained]
        result = {
            "result": {"metric": "accuracy", "arms": arms},
            "students": {s.id: metrics for s in trained},
            "extra": {"curves": []},
        }
        return result, made


def dataset_facts(rows: int = 60, classes: tuple[str, ...] = CLASSES) -> dict[str, Any]:
    """What an intake finds in a dataset."""
    return {
        "classes": list(classes),
        "rows": {"train": rows, "validation": 10, "test": 20, "unlabelled": 0},
        "input": {"size": [8, 8], "channels": "gray"},
        "fingerprint": "f" * 64,
        "bytes": 1000,
        "format": "npz",
    }


def teacher_facts(classes: tuple[str, ...] | list[str] | None = CLASSES) -> dict[str, Any]:
    """What an intake finds in a teacher."""
    return {
        "network": NETWORK,
        "input": INPUT | {"interpolation": "bilinear"},
        "classes": None if classes is None else list(classes),
        "class_count": len(classes or CLASSES),
        "parameters": 1234,
        "macs": 5678,
    }


def expired_at(stage: Stage, lease: Lease) -> None:
    """Let a lease run out: the clock's only effect is on this column."""
    with stage.database.write() as session:
        run = session.scalars(select(Run).where(Run.id == lease.run.id)).one()
        run.lease_expires_at = 1.0


def rejected(stage: Stage, made: str) -> str:
    """A teacher or dataset that was just made, refused by its intake."""
    stage.fail(stage.take(), "broken_image")
    kind: type[Teacher | Dataset] = Teacher if made.startswith("tch_") else Dataset
    assert stage.get(kind, made).status == "rejected"
    return made


def at_once(count: int, work: Callable[[int], None]) -> None:
    """Call `work` with 0 … count-1, each in a thread of its own, all at once."""
    gate = threading.Barrier(count)
    troubles: list[Exception] = []

    def each(number: int) -> None:
        gate.wait()
        try:
            work(number)
        except Exception as error:  # noqa: BLE001  whatever it is, the test shows it
            troubles.append(error)

    threads = [threading.Thread(target=each, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert troubles == []
