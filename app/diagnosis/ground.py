"""What the service stands on: database, clock, storage, disk, broker, and who may come in."""

from __future__ import annotations

import shutil
import time

import redis
from sqlalchemy.exc import SQLAlchemyError

from app.deps import State
from app.diagnosis.finding import Finding, fail, ok, warn
from core import census, migrate, strays
from stillhouse.errors import StillhouseError

BROKER_SECONDS = 2.0
SLOW_SECONDS = 0.25  # a request asks the database a few times
CLOCK_SECONDS = 2.0
NEARLY_FULL = 0.1


def database(state: State) -> Finding:
    """Does it answer, and has it this version's tables?"""
    try:
        lacks, is_newer = migrate.lacking(state.database), migrate.is_newer(state.database)
    except SQLAlchemyError as error:
        reason = " ".join(str(getattr(error, "orig", None) or error).split())[:300]
        return fail(
            "database",
            f"The database doesn't answer: {reason}.",
            "Start it, or correct STILLHOUSE_DATABASE_URL; the service then goes on by itself.",
        )
    if lacks:
        return fail(
            "database",
            f"The database lacks what this version needs: {'; '.join(lacks)}.",
            "Run `python -m app migrate` of this version; older replicas go on meanwhile.",
        )
    if is_newer:
        return warn(
            "database",
            "A newer version than this one has migrated the database.",
            "Bring this API to the version of the others.",
        )
    return ok("database", "The database answers and has this version's tables.")


def round_trip(state: State) -> Finding:
    """How long does one question take?"""
    with state.database.read() as session:
        census.clock_offset(session)  # the connection is made
        began = time.perf_counter()
        census.clock_offset(session)
        seconds = time.perf_counter() - began
    if seconds > SLOW_SECONDS:
        return warn(
            "round_trip",
            f"One question to the database takes {seconds * 1000:.0f} ms.",
            "Look at its load and its disk, or run the API nearer to it.",
        )
    return ok("round_trip", f"One question to the database takes {seconds * 1000:.1f} ms.")


def clock(state: State) -> Finding:
    """Do database and API agree on the time?"""
    with state.database.read() as session:
        census.clock_offset(session)  # making the connection takes a while, too
        offset = census.clock_offset(session)
    if abs(offset) > CLOCK_SECONDS:
        side = "ahead of" if offset > 0 else "behind"
        return warn(
            "clock",
            f"The database's clock is {abs(offset):.0f} s {side} this machine's.",
            "Let both machines take their time by NTP; waits and ages are wrong until then.",
        )
    return ok("clock", "The database's clock agrees with this machine's.")


def storage(state: State) -> Finding:
    """Can it be written?"""
    try:
        state.storage.check()
    except (OSError, StillhouseError) as error:
        return fail(
            "storage",
            f"The storage can't be written: {str(error).rstrip('.')}.",
            "Give the service's user the right to write there and room, or correct "
            "STILLHOUSE_STORAGE_URL and the credentials.",
        )
    return ok("storage", "The storage can be written.")


def books(state: State) -> Finding:
    """Does the storage belong to this database?"""
    seen = strays.sample(state.database, state.storage)
    if seen.is_slight:
        return warn("books", f"{seen}.", strays.ADVICE)
    return ok("books", f"{seen}.")


def disk(state: State) -> Finding:
    """Is there room on the disk of the storage, or of what lies beside a bucket?"""
    usage, least = shutil.disk_usage(state.storage.scratch), state.settings.min_free_bytes
    message = f"{usage.free / 1e9:.1f} GB of {usage.total / 1e9:.1f} GB are free on the disk."
    remedy = "Delete jobs and uploads that nobody needs, or give the disk more room."
    if usage.free < least:
        return fail("disk", f"{message} Uploads are refused below {least / 1e9:.1f} GB.", remedy)
    if usage.free < max(NEARLY_FULL * usage.total, 2 * least):
        return warn("disk", message, remedy)
    return ok("disk", message)


def broker(state: State) -> Finding:
    """Does it answer? Jobs don't need it; it makes them start at once."""
    url = state.settings.broker_url
    if url is None:
        return ok("broker", "There is no broker: workers look into the database by themselves.")
    try:
        with redis.Redis.from_url(
            url, socket_timeout=BROKER_SECONDS, socket_connect_timeout=BROKER_SECONDS
        ) as asked:
            asked.ping()
    except (redis.RedisError, OSError, ValueError) as error:
        return warn(
            "broker",
            f"The broker doesn't answer: {str(error).rstrip('.')}. No job is lost; each starts up "
            f"to {state.settings.poll:.0f} s later.",
            "Start Redis, or correct STILLHOUSE_BROKER_URL and its password.",
        )
    return ok("broker", "The broker answers.")


def doors(state: State) -> Finding:
    """Does the service ask for keys?"""
    if state.settings.auth == "off":
        return warn(
            "auth",
            "The service asks for no key: whoever reaches its address may do everything.",
            "Fine on a machine of your own; set STILLHOUSE_AUTH=keys before others reach it.",
        )
    return ok("auth", "The service asks for keys.")
