"""The client: what the API can do, as methods; its JSON as dictionaries, its errors by name."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel

from stillhouse import errors, transfer, wire
from stillhouse.connection import Connection
from stillhouse.spec import DatasetSpec, JobSpec, TeacherSpec
from stillhouse.transfer import Progress

Json = dict[str, Any]
Follow = Callable[[Json], None]
"""Called with an object each time it has changed."""

TERMINAL = frozenset({"succeeded", "failed", "cancelled"})
SETTLED = frozenset({"ready", "rejected"})
_PAGE = 100


class Client:
    """A service at one address.

    A spec may be one of `stillhouse.spec`, or its JSON as a dictionary, which the service checks.
    Requests that got no answer are tried again; that is safe, because each POST that creates
    carries an Idempotency-Key. Every method raises a `StillhouseError`: what the service refused,
    or `Unavailable` when it can't be reached; what is wrong with a local file is an `OSError`.

    Args:
        base_url: Default: STILLHOUSE_URL, or http://127.0.0.1:8000.
        key: Default: STILLHOUSE_KEY, or none.
        timeout: Seconds without a byte until a request counts as lost.
        patience: Seconds that a service which has never answered is tried for.
    """

    def __init__(
        self,
        base_url: str | None = None,
        *,
        key: str | None = None,
        timeout: float = 60.0,
        patience: float = 3.0,
    ) -> None:
        self._connection = Connection(
            base_url or os.environ.get("STILLHOUSE_URL") or "http://127.0.0.1:8000",
            key=key or os.environ.get("STILLHOUSE_KEY"),
            timeout=timeout,
            first_patience=patience,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends whatever waits, and closes the connections."""
        self._connection.close()

    # What goes in

    def put_blob(self, path: str | Path, *, progress: Progress = transfer.ignore) -> str:
        """Uploads a file, unless the service has its bytes; returns their SHA-256."""
        return transfer.upload(self._connection, Path(path), progress=progress)

    def create_teacher(
        self, spec: TeacherSpec | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> Json:
        """Names a teacher, which is then examined; see `wait_ready`."""
        return self._create("/v1/teachers", spec, idempotency_key)

    def teachers(self) -> Iterator[Json]:
        """All teachers, newest first."""
        return self._list("/v1/teachers")

    def datasets(self) -> Iterator[Json]:
        """All datasets, newest first."""
        return self._list("/v1/datasets")

    def create_dataset(
        self, spec: DatasetSpec | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> Json:
        """Names a dataset, which is then examined; see `wait_ready`."""
        return self._create("/v1/datasets", spec, idempotency_key)

    def wait_ready(self, teacher_or_dataset: str, *, progress: Follow | None = None) -> Json:
        """Waits until a teacher or a dataset is ready; raises InputRejected when it is refused."""
        found = self._follow(wire.path(teacher_or_dataset), SETTLED, progress)
        if found["status"] == "ready":
            return found
        error = dict(found.get("error") or {})
        code, detail = error.pop("code", "rejected"), error.pop("detail", "")
        raise errors.InputRejected(code, detail or f"{found['id']} was rejected.", **error)

    def teacher(self, teacher: str) -> Json:
        """A teacher by its id."""
        return self._get(wire.path(teacher))

    def dataset(self, dataset: str) -> Json:
        """A dataset by its id."""
        return self._get(wire.path(dataset))

    def splits(self, dataset: str) -> Json:
        """The source rows of each part: `{"train": [row, …], "validation": […], "test": […]}`."""
        return self._get(f"{wire.path(dataset)}/splits")

    # Jobs

    def estimate(self, spec: JobSpec | Mapping[str, Any], *, wait_seconds: int = 30) -> Json:
        """What a job would start and take; creates nothing. A figure may be null.

        A busy worker is waited for, `wait_seconds` (at most 30), then `NoWorker` is raised.
        """
        answer: Json = self._connection.send(
            "POST",
            "/v1/jobs/estimate",
            json=wire.body(spec),
            headers={"Prefer": f"wait={wait_seconds}"},
        ).json()
        return answer

    def submit(
        self, spec: JobSpec | Mapping[str, Any], *, idempotency_key: str | None = None
    ) -> Json:
        """Starts a job. Give a key of your own to make a second call answer with the first job."""
        return self._create("/v1/jobs", spec, idempotency_key)

    def job(self, job: str) -> Json:
        """A job by its id."""
        return self._get(wire.path(job))

    def jobs(
        self,
        *,
        status: str | None = None,
        teacher: str | None = None,
        dataset: str | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> Iterator[Json]:
        """All jobs, newest first, a page at a time as they are asked for."""
        labels = {f"metadata[{key}]": value for key, value in (metadata or {}).items()}
        wanted = wire.present(status=status, teacher=teacher, dataset=dataset) | labels
        return self._list("/v1/jobs", wanted)

    def wait(self, job: str, *, progress: Follow | None = None) -> Json:
        """Waits until a job has ended, however it did; its `status` says how."""
        return self._follow(wire.path(job), TERMINAL, progress)

    def cancel(self, job: str) -> Json:
        """Asks a job to stop; raises JobIsOver when it has ended."""
        answer: Json = self._connection.send("POST", f"{wire.path(job)}/cancel").json()
        return answer

    def runs(self, job: str) -> Iterator[Json]:
        """The runs of a job."""
        return self._list(f"{wire.path(job)}/runs")

    def events(self, job: str, *, after: int | None = None) -> Iterator[Json]:
        """What happened to a job, oldest first, behind the event `after`."""
        return self._list(f"{wire.path(job)}/events", after=after)

    def metrics(
        self,
        job: str,
        *,
        run: str | None = None,
        name: str | None = None,
        after_step: int | None = None,
        points: int | None = None,
    ) -> list[Json]:
        """The curves of a job: `[{"run", "name", "points": [[step, value], …]}, …]`."""
        wanted = {"run": run, "name": name, "after_step": after_step, "points": points}
        curves: list[Json] = self._get(f"{wire.path(job)}/metrics", **wanted)["data"]
        return curves

    def logs(self, job_or_run: str, *, tail: int | None = None) -> str:
        """The log of a job, or of one run; the last `tail` lines of it."""
        if not job_or_run.startswith("run_"):
            text = self._connection.send("GET", f"{wire.path(job_or_run)}/logs").text
            return text if tail is None else "".join(text.splitlines(keepends=True)[-tail:])
        path, params = f"/v1/runs/{job_or_run}/log", wire.present(tail=tail)
        return self._connection.send("GET", path, params=params).text

    def report(self, job: str) -> Json:
        """The proof: students, teacher and controls side by side."""
        return self._get(f"{wire.path(job)}/report")

    # Students

    def students(self, job: str | None = None) -> Iterator[Json]:
        """The students of a job, of all arms; without a job all that there are, newest first."""
        return self._list("/v1/students" if job is None else f"{wire.path(job)}/students")

    def best(
        self, job: str, *, max_latency_ms: float | None = None, max_bytes: int | None = None
    ) -> Json:
        """The student with the best validation result within the budget."""
        return self._get(
            f"{wire.path(job)}/best", max_latency_ms=max_latency_ms, max_bytes=max_bytes
        )

    def student(self, student: str) -> Json:
        """A student by its id."""
        return self._get(wire.path(student))

    def download(
        self,
        student: str,
        folder: str | Path,
        *,
        progress: Progress = transfer.ignore,
        checking: Progress = transfer.ignore,
    ) -> Path:
        """Brings a student's files, resuming what broke off; every file is checked by its hash.

        A folder that holds files of another student is refused with an `OSError`. `checking` is
        called while files that are there already are hashed, `progress` while others come.
        """
        found, into = self.student(student), Path(folder)
        return transfer.download(
            self._connection, found, into, progress=progress, checking=checking
        )

    # Keys

    def create_key(self, spec: Mapping[str, Any], *, idempotency_key: str | None = None) -> Json:
        """Makes a key by `name`, `scopes`, `tenant`, `metadata`: the answer's `key`, shown once."""
        return self._create("/v1/keys", spec, idempotency_key)

    def keys(self) -> Iterator[Json]:
        """All keys, newest first, without their secrets."""
        return self._list("/v1/keys")

    def revoke_key(self, key: str) -> None:
        """Shuts a key out, for good."""
        self._connection.send("DELETE", wire.path(key))

    # Workers

    def workers(self) -> Iterator[Json]:
        """The workers, newest first, with what each is doing."""
        return self._list("/v1/workers")

    def drain(self, worker: str) -> Json:
        """Lets a worker finish what it has and take nothing new, until it's started again."""
        answer: Json = self._connection.send("POST", f"{wire.path(worker)}/drain").json()
        return answer

    def undrain(self, worker: str) -> Json:
        """Lets a draining worker go on."""
        answer: Json = self._connection.send("DELETE", f"{wire.path(worker)}/drain").json()
        return answer

    def version(self) -> Json:
        """The service's version."""
        return self._get("/v1/version")

    # How it is said

    def _get(self, path: str, **params: Any) -> Json:
        answer: Json = self._connection.send("GET", path, params=wire.present(**params)).json()
        return answer

    def _create(
        self, path: str, spec: BaseModel | Mapping[str, Any], idempotency_key: str | None
    ) -> Json:
        key = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        answer: Json = self._connection.send("POST", path, json=wire.body(spec), headers=key).json()
        return answer

    def _list(
        self, path: str, params: Mapping[str, str] | None = None, *, after: int | None = None
    ) -> Iterator[Json]:
        wanted = {"limit": _PAGE} | dict(params or {})
        return self._connection.pages(path, params=wanted, after=after)

    def _follow(self, path: str, ends: frozenset[str], progress: Follow | None) -> Json:
        # The service holds each request until the object changes, or answers 304 after a while.
        hold = {"Prefer": f"wait={max(1, min(30, int(self._connection.timeout / 2)))}"}
        headers: dict[str, str] = {}
        while True:
            answer = self._connection.send("GET", path, headers=headers)
            if answer.status_code != 304:
                found: Json = answer.json()
                if progress is not None:
                    progress(found)
                if found["status"] in ends:
                    return found
                headers = hold | {"If-None-Match": answer.headers["ETag"]}
            self._connection.pause(0.1)
