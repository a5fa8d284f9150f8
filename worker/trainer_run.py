"""A job's run in a trainer: its messages become rows, its lease is kept, its end is written."""

from __future__ import annotations

import queue
import time
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy.orm import Session

from core import jobs, leases, runs
from core.runs import Progress
from core.tables import Checkpoint
from stillhouse.errors import StillhouseError
from worker import assignments, metrics
from worker.bench import STOP_SECONDS, Bench, LeaseNotProvable
from worker.checkpoints import Checkpoints
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
        self._checkpoints = Checkpoints(bench)

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
            self._bench.note("checkpoint_corrupt", detail, level="warn")
        if path is not None:
            self._bench.note("run_resumed", "It goes on from a checkpoint.")

    def _follow(self, trainer: TrainerProcess) -> bool:
        """Until the run is over. Returns whether the trainer may be used again."""
        while True:
            message = self._next(trainer)
            if message is not None:
                self._heard_at = time.monotonic()
                done = self._hear(trainer, message)
                if done is not None:
                    return done
            self._checkpoints.look()
            if not trainer.is_alive and message is None and trainer.messages.empty():
                self._beat(trainer)
                self._checkpoints.settle()
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
                self._bench.note(
                    message.get("code", "note"), message.get("detail", ""),
                    level=message.get("level", "info"), data=message.get("extra"),
                )  # fmt: skip
            case "checkpoint":
                self._checkpoints.save(message)
            case "succeeded":
                self._beat(trainer)
                self._checkpoints.settle()
                self._bench.finish(message.get("result", {}), message.get("files", []))
                return True
            case "failed":
                self._beat(trainer)
                self._checkpoints.settle()
                self._bench.fail(error_of(message))
                return False
            case "stopped":
                self._beat(trainer)
                self._checkpoints.settle()
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
            self._checkpoints.settle()
            self._bench.lose(f"The trainer said nothing for {STALLED_SECONDS:.0f} seconds.")
            return True
        return False
