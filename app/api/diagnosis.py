"""What is wrong with this deployment, for `stillhouse doctor` and for people."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import anyio
from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter

from app.deps import ADMIN, State, StateDep
from app.diagnosis import finding, ground, work
from app.diagnosis.finding import Finding
from stillhouse import __version__

router = APIRouter(prefix="/v1", tags=["health"], dependencies=[ADMIN])

Check = Callable[[State], Finding | list[Finding]]

SECONDS = 3.0
# Apart from the others', which may all wait for what is looked for.
_limiter = CapacityLimiter(16)
ALONE: tuple[Check, ...] = (ground.storage, ground.disk, ground.broker, ground.doors)
IN_SQL: tuple[Check, ...] = (
    ground.round_trip, ground.clock, ground.books, work.alive, work.lost, work.draining,
    work.versions, work.queue, work.leases, work.losses,
)  # fmt: skip


@router.get("/diagnosis", operation_id="diagnose")
async def diagnose(state: StateDep) -> dict[str, Any]:
    """Each check looks for at most three seconds and says in a sentence what it found.

    A check is `ok`, `warn` (it works, somebody should look) or `fail`, then with a `remedy`.
    """
    found = await _look(state, ground.database)
    checks = ALONE if finding.worst(found) == "fail" else (*ALONE, *IN_SQL)
    answers: dict[str, list[Finding]] = {}

    async def look(check: Check) -> None:
        answers[check.__name__] = await _look(state, check)

    async with anyio.create_task_group() as group:
        for check in checks:
            group.start_soon(look, check)
    for check in checks:
        found += answers[check.__name__]
    return {
        "object": "diagnosis",
        "status": finding.worst(found),
        "version": __version__,
        "findings": [asdict(each) for each in found],
    }


async def _look(state: State, check: Check) -> list[Finding]:
    name = check.__name__
    try:
        with anyio.fail_after(SECONDS):
            found = await to_thread.run_sync(check, state, abandon_on_cancel=True, limiter=_limiter)
    except TimeoutError:
        message = f"There was no answer within {SECONDS:.0f} s."
        return [finding.fail(name, message, "See whether what it asks is overloaded, or hangs.")]
    except Exception as error:  # noqa: BLE001  one check that can't look must not hide the others
        message = f"It couldn't be checked: {type(error).__name__}: {str(error)[:200]}."
        return [finding.fail(name, message, "See the API's log.")]
    return found if isinstance(found, list) else [found]
