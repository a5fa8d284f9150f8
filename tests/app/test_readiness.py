"""What /readyz asks, and how often, whoever asks."""

import asyncio
import itertools
import threading
from collections.abc import Iterator

from app import readiness
from app.readiness import Probe


def answers(probe: Probe[str], count: int) -> list[str]:
    async def ask() -> list[str]:
        return await asyncio.gather(*(probe.answer() for _ in range(count)))

    return asyncio.run(ask())


def numbered(count: Iterator[int]) -> str:
    return str(next(count))


def test_many_who_ask_at_once_and_soon_after_share_one_look() -> None:
    count = itertools.count()
    probe = Probe(lambda: numbered(count), silent="away")
    assert answers(probe, 50) == ["0"] * 50
    assert answers(probe, 50) == ["0"] * 50
    probe._until = 0.0  # as if seconds had passed
    assert answers(probe, 1) == ["1"]


def test_while_one_looks_again_the_others_are_told_what_was_found_last() -> None:
    count = itertools.count()
    probe = Probe(lambda: numbered(count), silent="away")
    answers(probe, 1)
    probe._until = 0.0
    assert answers(probe, 3) == ["1", "0", "0"]


def test_what_hangs_is_away_and_takes_one_thread() -> None:
    gate, begun = threading.Event(), itertools.count()

    def hang() -> str:
        next(begun)
        gate.wait(20)
        return "ok"

    probe = Probe(hang, silent="away")
    probe._patience.seconds = 0.1

    async def ask() -> list[str]:
        found = []
        for _ in range(5):
            found.append(await probe.answer())
            probe._until = 0.0
        gate.set()
        probe._patience.seconds = readiness.PATIENCE_SECONDS
        return [*found, str(next(begun)), await probe.answer()]

    assert asyncio.run(ask()) == ["away"] * 5 + ["1", "ok"]
