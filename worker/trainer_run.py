"""A job's run in a trainer: its messages become rows, its lease is kept, its end is written."""

from __future__ import annotations

import queue
import time
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy.orm import Session

from core import events, files, jobs, leases, runs
from core.runs import Progress
from core.tables import Checkpoint
from stillhouse.errors import StillhouseError, Unavailable
from worker import assignments, errands, metrics
from worker.bench import STOP_SECONDS, Bench, LeaseNotProvable
from worker.inputs import Inputs
from worker.intake_run import error_of
from worker.protocol import Assignment, Message
from worker.trainer_process import Spare, TrainerProcess

WRITE_SECONDS = 0.8  # a job's progress is at most a second old
STALLED_SECONDS = 600.0
UNBUILT_SECONDS = 120.0  # prepare: each network is built and tried in a few seconds
MAX_LOG_CHARACTERS = 16 * 1024**2  # of one claim of a run


@dataclass(slots=True)
class LogBudget:
    """A run that prints without end fills no database."""

    left: int = MAX_LOG_CHARACTERS

    def take(self, text: str) -> str:
        """What of a text may still be kept; the cut is said once."""
        if self.left <= 0:
            return ""
        self.left -= len(text)
        if self.left > 0:
            return text
        return text[: self.left or None] + "\n[the rest of this run's output is not kept]\n"


@dataclass(frozen=True, slots=True)
class Saving:
    """A checkpoint on its way into the storage."""

    step: int
    file: Future[dict[str, Any]]


class TrainerRun:
    """One run of a trainer."""

    def __init__(self, bench: Bench, spare: Spare, *, device: str, threads: int) -> None:
        self._bench = bench
        self._spare = spare
        self._device = device
        self._threads = threads
        self._trainer: TrainerProcess | None = None
        self._progress: Progress | None = None
        self._points: dict[tuple[str, int], float] = {}
        self._dirty = False
        self._begins = False
        """Whether its first step is known here and not in SQL."""
        self._beat_at = time.monotonic()
        self._heard_at = time.monotonic()
        self._stop_by: float | None = None
        self._log_budget = LogBudget()
        self._saving: Saving | None = None

    def work(self) -> None:
        """Do the run; a trainer that ended it cleanly goes back to the bench."""
        try:
            assignment = self._assign()
        except StillhouseError as error:
            self._bench.fail(jobs.error_of(error))
            return
        trainer = self._trainer = self._spare.take()
        is_clean = False
        try:
            trainer.send(assignment)
            is_clean = self._follow(trainer)
        except LeaseNotProvable:
            pass  # whoever claims it next goes on from the checkpoint
        finally:
            if is_clean:
                self._spare.put_back(trainer)
            else:
                trainer.kill()
                self._spare.is_ready()  # the next one starts while this run is written down

    def _assign(self) -> Assignment:
        """What the trainer is told; the files that it names are there."""
        bench, run = self._bench, self._bench.lease.run
        inputs = Inputs(bench.storage, bench.inputs)

        def assign(session: Session) -> tuple[Assignment, list[Checkpoint]]:
            assignment = assignments.for_trainer(
                session, run, inputs, bench.settings, work=bench.work, device=self._device,
                threads=self._threads,
            )  # fmt: skip
            return assignment, runs.checkpoints(session, run.id)

        assignment, checkpoints = bench.write(assign)
        bench.beside(inputs.bring)
        if checkpoints:
            path, corrupt = bench.beside(lambda: inputs.newest(checkpoints))
            self._say_resumed(path, corrupt)
            assignment["checkpoint"] = None if path is None else str(path)
        return assignment

    def _say_resumed(self, path: Path | None, corrupt: int) -> None:
        if corrupt:
            detail = f"{corrupt} checkpoint(s) were not what was written; an older one is used."
            self._note({"type": "event", "code": "checkpoint_corrupt", "detail": detail,
                        "level": "warn"})  # fmt: skip
        if path is not None:
            detail = "It goes on from a checkpoint."
            self._note({"type": "event", "code": "run_resumed", "detail": detail})

    def _follow(self, trainer: TrainerProcess) -> bool:
        """Until the run is over. Returns whether the trainer may be used again."""
        while True:
            message = self._next(trainer)
            if message is not None:
                self._heard_at = time.monotonic()
                done = self._hear(trainer, message)
                if done is not None:
                    return done
            if self._saving is not None and self._saving.file.done():
                self._settle()
            if not trainer.is_alive and message is None and trainer.messages.empty():
                self._beat(trainer)
                self._settle()
                self._bench.lose(trainer.how_it_ended())
                return False
            if self._is_due():
                order = self._beat(trainer)
                if order != "continue":
                    trainer.kill()
                    self._bench.obey(order)
                    return False
            if self._must_give_up(trainer):
                return False

    def _next(self, trainer: TrainerProcess) -> Message | None:
        try:
            return trainer.messages.get(timeout=0.2 if trainer.is_alive else 0.05)
        except queue.Empty:
            return None

    def _hear(self, trainer: TrainerProcess, message: Message) -> bool | None:
        """Act on a message; not None when the run is over."""
        match message["type"]:
            case "progress":
                self._take_progress(message)
            case "metrics":
                for name, step, value in message.get("points", []):
                    self._points[name, step] = value
                metrics.heard(message.get("points", []))
                self._dirty = True
            case "event":
                self._note(message)
            case "checkpoint":
                self._save(message)
            case "succeeded":
                self._beat(trainer)
                self._settle()
                self._bench.finish(message.get("result", {}), message.get("files", []))
                return True
            case "failed":
                self._beat(trainer)
                self._settle()
                self._bench.fail(error_of(message))
                return False
            case "stopped":
                self._beat(trainer)
                self._settle()
                self._bench.give_back("The worker was stopped; the run goes on from here.")
                return False
            case "ready":
                pass
        return None

    def _take_progress(self, message: Message) -> None:
        step = message.get("step", 0)
        self._begins = step > 0 and (self._progress is None or self._progress.step == 0)
        self._progress = Progress(step, message.get("steps", 0), message.get("epoch", 0))
        self._dirty = True

    def _is_due(self) -> bool:
        if self._begins:
            return True
        since = time.monotonic() - self._beat_at
        return since >= (WRITE_SECONDS if self._dirty else self._bench.beat_seconds)

    def _beat(self, trainer: TrainerProcess) -> leases.Order:
        """Renew the lease; progress, curves and log go with it, in one transaction."""
        run_id = self._bench.lease.run.id
        points = [(name, step, value) for (name, step), value in self._points.items()]
        text = self._log_budget.take(trainer.take_log())

        def also(session: Session) -> None:
            runs.add_metrics(session, run_id, points)
            if text:
                runs.add_log(session, run_id, text)

        order = self._bench.beat(self._progress, also)
        self._beat_at = time.monotonic()
        self._points.clear()
        self._dirty = self._begins = False
        return order

    def _must_give_up(self, trainer: TrainerProcess) -> bool:
        """Stop on request, and end a trainer that has gone silent."""
        now = time.monotonic()
        if self._bench.stopping.is_set() and self._stop_by is None:
            self._stop_by = now + STOP_SECONDS
            trainer.send({"type": "stop"})
        if self._stop_by is not None and now > self._stop_by:
            trainer.kill()
            self._bench.give_back("The worker was stopped before a checkpoint was written.")
            return True
        is_trial = self._bench.lease.run.kind in ("prepare", "estimate")
        if is_trial and now - self._heard_at > UNBUILT_SECONDS:
            trainer.kill()
            detail = (
                f"A network was neither built nor tried within {UNBUILT_SECONDS:.0f} s; "
                "take a smaller network or a smaller input."
            )
            self._bench.fail({"code": "network_not_buildable", "detail": detail})
            return True
        if now - self._heard_at > STALLED_SECONDS:
            trainer.kill()
            self._settle()
            self._bench.lose(f"The trainer said nothing for {STALLED_SECONDS:.0f} seconds.")
            return True
        return False

    def _note(self, message: Message) -> None:
        lease = self._bench.lease

        def write(session: Session) -> None:
            run = runs.held(session, lease.run.id, lease.fence)
            if run is None:
                return
            events.add(
                session,
                run.job,
                message.get("code", "note"),
                message.get("detail", ""),
                level=message.get("level", "info"),
                run=run.id,
                data=message.get("extra", {}),
            )

        self._bench.write(write)

    def _save(self, message: Message) -> None:
        """Begin to store a checkpoint beside the training; one at a time."""
        self._settle()
        made = message["file"]

        def store() -> dict[str, Any]:
            with metrics.checkpoint(made["bytes"]):
                return self._bench.adopt(made)

        storing = errands.start(store, name="checkpoint")
        self._saving = Saving(step=message.get("step", 0), file=storing)

    def _settle(self) -> None:
        """Wait for the checkpoint on its way, if there is one, and write it down."""
        saving, self._saving = self._saving, None
        if saving is None:
            return
        try:
            listed = self._bench.follow(saving.file, patience_seconds=STOP_SECONDS)
        except Unavailable as error:
            detail = f"The checkpoint of step {saving.step} was not kept: {error.detail}"
            self._note({"type": "event", "code": "checkpoint_not_kept", "detail": detail,
                        "level": "warn"})  # fmt: skip
            return
        self._bench.write(lambda s: self._write_checkpoint(s, saving.step, listed))

    def _write_checkpoint(self, session: Session, step: int, listed: dict[str, Any]) -> None:
        lease = self._bench.lease
        run = runs.held(session, lease.run.id, lease.fence)
        if run is None:
            return
        gone = runs.add_checkpoint(
            session, run, step=step, sha256=listed["sha256"], size=listed["bytes"]
        )
        for sha256 in gone:
            files.forget(session, sha256, run.id)
