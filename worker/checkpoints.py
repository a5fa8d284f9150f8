"""Checkpoints of a run at work: stored beside the training, one at a time."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from core import files, runs
from stillhouse.errors import Unavailable
from worker import errands, metrics
from worker.bench import STOP_SECONDS, Bench
from worker.protocol import Message


@dataclass(frozen=True, slots=True)
class _Saving:
    """A checkpoint on its way into the storage."""

    step: int
    file: Future[dict[str, Any]]


class Checkpoints:
    """Those of one claim; a checkpoint exists when its row does."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._saving: _Saving | None = None

    def save(self, message: Message) -> None:
        """Begin to store one, when the one before is there."""
        self.settle()
        made = message["file"]

        def store() -> dict[str, Any]:
            with metrics.checkpoint(made["bytes"]):
                return self._bench.adopt(made)

        storing = errands.start(store, name="checkpoint")
        self._saving = _Saving(step=message.get("step", 0), file=storing)

    def look(self) -> None:
        """Write down the one on its way if it has arrived."""
        if self._saving is not None and self._saving.file.done():
            self.settle()

    def settle(self) -> None:
        """Wait for the one on its way, if there is one, and write it down.

        One that can't be stored is left out: the run goes on, and would from the one before.
        """
        saving, self._saving = self._saving, None
        if saving is None:
            return
        try:
            listed = self._bench.follow(saving.file, patience_seconds=STOP_SECONDS)
        except Unavailable as error:
            detail = f"The checkpoint of step {saving.step} was not kept: {error.detail}"
            self._bench.note("checkpoint_not_kept", detail, level="warn")
            return
        self._bench.write(lambda s: self._write(s, saving.step, listed))

    def _write(self, session: Session, step: int, listed: dict[str, Any]) -> None:
        lease = self._bench.lease
        run = runs.held(session, lease.run.id, lease.fence)
        if run is None:
            return
        gone = runs.add_checkpoint(
            session, run, step=step, sha256=listed["sha256"], size=listed["bytes"]
        )
        for sha256 in gone:
            files.forget(session, sha256, run.id)
