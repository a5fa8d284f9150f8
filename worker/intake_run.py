"""An intake run: a sandboxed child looks at a user's bytes, nobody else does."""

from __future__ import annotations

import tempfile
import threading
from contextvars import copy_context

from core import jobs, runs
from stillhouse.errors import InputRejected, StillhouseError
from worker import hub_fetch, intake_assignments, sandbox
from worker.bench import Bench, LeaseNotProvable
from worker.inputs import Inputs
from worker.protocol import IntakeAssignment, Message
from worker.sandbox import Intake

MAX_LOG_BYTES = 64 * 1024
HUB_TRIES = 10
HUB_WAIT_SECONDS = 30.0


class IntakeRun:
    """One intake."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._message: Message | None = None
        self._pinned: dict[str, str] = {}

    def work(self) -> None:
        """Take in, and write what was found."""
        bench, run = self._bench, self._bench.lease.run
        inputs = Inputs(bench.storage, bench.inputs)
        try:
            assignment = bench.write(
                lambda s: intake_assignments.for_intake(s, run, inputs, bench.settings, bench.work)
            )
            bench.beside(inputs.bring)
            if hub_fetch.is_needed(assignment["sources"]):
                self._fetch(assignment)
        except StillhouseError as error:
            self._refuse(error)
            return
        with tempfile.TemporaryFile() as log:  # out of the child's reach but for writing
            try:
                with sandbox.start(assignment, log=log) as intake:
                    self._follow(intake)
            except LeaseNotProvable:
                return
            log.seek(max(log.tell() - MAX_LOG_BYTES, 0))
            text = log.read().decode(errors="replace")
        if text:
            bench.write(lambda s: runs.add_log(s, run.id, text))
        if self._message is not None:
            self._end(self._message)

    def _fetch(self, assignment: IntakeAssignment) -> None:
        """Bring what lies on the Hub, while the lease is kept."""
        sources, bench = assignment["sources"], self._bench
        brought = bench.beside(lambda: hub_fetch.bring(sources, bench.inputs, bench.settings))
        assignment["sources"], self._pinned = brought.sources, brought.pinned

    def _refuse(self, error: StillhouseError) -> None:
        """End badly; a Hub that is away is asked again, five minutes long."""
        found, bench = jobs.error_of(error), self._bench
        if found["code"] == hub_fetch.UNAVAILABLE and bench.lease.run.attempts < HUB_TRIES:
            bench.give_back(str(found["detail"]), delay_seconds=HUB_WAIT_SECONDS)
        else:
            bench.fail(found)

    def _follow(self, intake: Intake) -> None:
        """Keep the lease while the child works."""
        seconds = self._bench.settings.intake_seconds

        def listen() -> None:
            self._message = sandbox.finish(intake, timeout_seconds=seconds)

        hearing = copy_context().run  # its lines in the log, too, are about this run
        listening = threading.Thread(
            target=hearing, args=(listen,), name="intake-messages", daemon=True
        )
        listening.start()
        order = "continue"
        try:
            while listening.is_alive() and order == "continue":
                listening.join(self._bench.beat_seconds)
                if self._bench.stopping.is_set():
                    break
                order = self._bench.beat(None) if listening.is_alive() else order
        finally:
            interrupted = listening.is_alive()
            sandbox.kill(intake)
            listening.join()
            if interrupted:
                self._message = None
        if interrupted and order == "continue":
            self._bench.give_back("The worker was stopped.")

    def _end(self, message: Message) -> None:
        if message["type"] != "succeeded":
            self._bench.fail(error_of(message))
            return
        try:
            result = message.get("result", {}) | {"pinned": self._pinned}
            self._bench.finish(result, message.get("files", []), verify=True)
        except (ValueError, KeyError, TypeError) as error:
            # The child is not to be trusted: what it says may have any shape.
            refused = InputRejected("intake_failed", f"Intake gave no usable answer: {error}.")
            self._bench.fail(refused.as_dict())


def error_of(message: Message) -> dict[str, object]:
    """A child's `failed` message as the error that an object shows."""
    error: dict[str, object] = {
        "code": message.get("code", "internal"),
        "detail": message.get("detail", ""),
    }
    if message.get("field"):
        error["field"] = message["field"]
    return error | message.get("extra", {})
