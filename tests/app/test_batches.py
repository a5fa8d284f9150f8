from __future__ import annotations

import asyncio
import threading

import pytest

from app.batches import Batches
from core import logs


class Counter:
    """Doubles numbers, and remembers which were asked together."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.may_go_on = threading.Event()
        self.may_go_on.set()

    def work(self, asked: list[int]) -> list[int | Exception]:
        self.batches.append(asked)
        self.may_go_on.wait(10)
        if 13 in asked:
            raise RuntimeError("the whole batch failed")
        return [ValueError(str(number)) if number < 0 else 2 * number for number in asked]


def ask(counter: Counter, numbers: list[int], *, at_most: int = 32) -> list[int | BaseException]:
    """All at once; those after the first while the first is at work."""

    async def all_of_them() -> list[int | BaseException]:
        batches = Batches(counter.work, at_most=at_most)
        return await asyncio.gather(
            *(batches.ask(number) for number in numbers), return_exceptions=True
        )

    return asyncio.run(all_of_them())


def test_a_caller_alone_waits_for_nobody() -> None:
    counter = Counter()
    assert ask(counter, [4]) == [8]
    assert counter.batches == [[4]]


def test_those_who_come_together_are_answered_together_and_in_their_order() -> None:
    counter = Counter()
    assert ask(counter, [1, 2, 3]) == [2, 4, 6]
    assert counter.batches == [[1, 2, 3]]


def test_a_batch_has_its_limit() -> None:
    counter = Counter()
    assert ask(counter, [1, 2, 3, 4, 5], at_most=2) == [2, 4, 6, 8, 10]
    assert [len(batch) for batch in counter.batches] == [2, 2, 1]


def test_an_error_is_its_askers_alone() -> None:
    good, bad, other = ask(Counter(), [1, -1, 3])
    assert (good, other) == (2, 6)
    assert isinstance(bad, ValueError)


def test_work_that_fails_fails_for_all_who_were_in_it_and_for_nobody_later() -> None:
    counter = Counter()
    found = ask(counter, [13, 1, 2], at_most=2)
    assert [isinstance(each, RuntimeError) for each in found] == [True, True, False]
    assert found[2] == 4


def test_the_work_is_about_none_of_its_askers_alone() -> None:
    seen: list[object] = []

    def work(asked: list[int]) -> list[int | Exception]:
        seen.append(logs.context().get("request_id"))
        return list(asked)

    async def asks() -> int:
        with logs.bound(request_id="req_1"):
            return await Batches(work, at_most=8).ask(1)

    assert asyncio.run(asks()) == 1
    assert seen == [None]


def test_a_caller_who_goes_leaves_the_others_their_answers() -> None:
    counter = Counter()
    counter.may_go_on.clear()

    async def some_leave() -> int:
        batches = Batches(counter.work, at_most=32)
        gone = asyncio.create_task(batches.ask(1))
        stays = asyncio.create_task(batches.ask(2))
        await asyncio.sleep(0)
        gone.cancel()
        with pytest.raises(asyncio.CancelledError):
            await gone
        counter.may_go_on.set()
        return await stays

    assert asyncio.run(some_leave()) == 4
