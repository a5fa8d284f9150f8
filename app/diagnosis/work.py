"""What happens to the work: who is there to do it, what waits, and what goes wrong."""

from __future__ import annotations

import time

from sqlalchemy.orm import Session

from app.deps import State
from app.diagnosis.finding import Finding, fail, ok, several, span, warn
from core import census, workers
from core.census import Waiting
from core.tables import Worker
from stillhouse import __version__

LATELY_SECONDS = 3600.0
"""A worker that signs off counts as unseen for an hour: who was seen since did not sign off."""
LOOK_SECONDS = 120.0  # an idle worker has looked by then, whatever its clock
LONG_SECONDS = 3600.0
MANY_LOSSES = 3
START = "Start one: `docker compose up -d worker`, or `python -m worker.main`."


def alive(state: State) -> Finding:
    """Is there a worker?"""
    found = _living(state)
    if not found:
        return fail("workers", "No worker lives: nothing is worked on.", START)
    lease = state.settings.lease_seconds
    named = ", ".join(
        f"{row.name} ({row.kind}, {workers.status_of(row, lost_after_seconds=lease)})"
        for row in found[:5]
    )
    return ok("workers", f"{several(len(found), 'worker lives', 'workers live')}: {named}.")


def lost(state: State) -> Finding:
    """Did one fall silent without signing off?"""
    now, lease = time.time(), state.settings.lease_seconds
    gone = [row for row in _all(state) if lease < now - row.last_seen_at < LATELY_SECONDS]
    if gone:
        seen = ", ".join(f"{row.name} ({span(now - row.last_seen_at)} ago)" for row in gone[:5])
        return warn(
            "lost_workers",
            f"{several(len(gone), 'worker')} fell silent without signing off; last seen: {seen}.",
            "Look at its log, its machine, and its way to the database. Its runs go on elsewhere.",
        )
    silent = [row for row in _living(state) if now - row.last_seen_at > lease / 2]
    if silent:
        return warn(
            "lost_workers",
            f"{silent[0].name} has said nothing for {span(now - silent[0].last_seen_at)}.",
            "Look at its load and its way to the database; it loses its run if this lasts.",
        )
    return ok("lost_workers", "No worker fell silent in the last hour.")


def draining(state: State) -> Finding:
    """Does one take nothing new?"""
    found = [f"{row.name} ({row.id})" for row in _living(state) if row.is_draining]
    if found:
        return warn(
            "draining",
            f"{', '.join(found[:5])} drains: it ends what it has and takes nothing new.",
            "Start it again when it has finished, or `stillhouse drain --undo wrk_…`.",
        )
    return ok("draining", "No worker drains.")


def versions(state: State) -> Finding:
    """Are workers and API of one version?"""
    others = [row for row in _living(state) if row.software != __version__]
    if others:
        named = ", ".join(f"{row.name} ({row.software})" for row in others[:5])
        return warn(
            "versions",
            f"This API is {__version__}, and other versions work: {named}.",
            "Fine during an upgrade; else bring all to one version.",
        )
    return ok("versions", f"API and workers are {__version__}.")


def queue(state: State) -> list[Finding]:
    """Does something wait, and why does nobody take it?"""
    with state.database.read() as session:
        lines = census.waiting(session)
        living = _of(session, state)
    found = [_line(lines, device, living) for device in sorted({each.device for each in lines})]
    return found or [ok("queue", "Nothing waits.")]


def leases(state: State) -> Finding:
    """Did leases run out that nobody took back?"""
    late = 2 * state.settings.reconcile_seconds + state.settings.heartbeat_seconds
    with state.database.read() as session:
        count = census.expired(session, seconds=late)
    if count:
        return fail(
            "leases",
            f"The leases of {several(count, 'run')} ran out and no worker took them back.",
            "A worker does that by itself. " + START,
        )
    return ok("leases", "No lease has run out.")


def losses(state: State) -> Finding:
    """Are runs lost again and again?"""
    with state.database.read() as session:
        count = census.losses(session, seconds=LATELY_SECONDS)
    if count >= MANY_LOSSES:
        return warn(
            "losses",
            f"A run was lost {count} times in the last hour.",
            "It starts again by itself. See the workers' logs: memory that runs out does this.",
        )
    said = f"a run was lost {several(count, 'time')}" if count else "no run was lost"
    return ok("losses", f"In the last hour {said}.")


def _line(lines: list[Waiting], device: str, living: list[Worker]) -> Finding:
    waiting = [each for each in lines if each.device == device]
    count, oldest = (
        sum(each.count for each in waiting),
        max(each.oldest_seconds for each in waiting),
    )
    kind = "any worker" if device in ("auto", "host") else f"a worker with the device {device}"
    message = f"{several(count, 'run')} for {kind}; the oldest was asked for {span(oldest)} ago"
    takers = [row for row in living if device in ("auto", "host", row.kind)]
    if not takers:
        return fail("queue", f"{message}. No such worker lives.", START)
    able = [row for row in takers if not row.is_draining]
    if not able:
        remedy = "Start one again, or `stillhouse drain --undo wrk_…`."
        return fail("queue", f"{message}. All such workers drain.", remedy)
    idle = [row.name for row in able if row.run is None]
    if idle and oldest > LOOK_SECONDS:
        return warn(
            "queue",
            f"{message}, although {idle[0]} has no run.",
            "Wait a minute and ask again; if it stays so, see that worker's log.",
        )
    if oldest > LONG_SECONDS:
        return warn("queue", f"{message}. All such workers are busy.", "Add workers, or wait.")
    return ok("queue", f"{message}.")


def _living(state: State) -> list[Worker]:
    with state.database.read() as session:
        return _of(session, state)


def _all(state: State) -> list[Worker]:
    with state.database.read() as session:
        return census.all_workers(session)


def _of(session: Session, state: State) -> list[Worker]:
    since = workers.alive_since(state.settings.lease_seconds)
    return [row for row in census.all_workers(session) if row.last_seen_at > since]
