from __future__ import annotations

import io
import json
import math
import threading

import pytest

from worker.engine.stop import Stopped
from worker.line import Line
from worker.protocol import Message

PROGRESS: Message = {"type": "progress", "step": 1, "steps": 2, "epoch": 0}


def _said(stream: io.StringIO) -> list[Message]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_what_is_no_number_is_sent_as_null() -> None:
    stream = io.StringIO()
    result = {"loss": math.nan, "history": [{"kl": -math.inf}], "pair": (1.5, math.inf)}
    Line(stream).send({"type": "succeeded", "result": result})
    assert _said(stream)[0]["result"] == {
        "loss": None,
        "history": [{"kl": None}],
        "pair": [1.5, None],
    }


def test_progress_is_sent_now_and_then_and_all_else_at_once() -> None:
    stream = io.StringIO()
    say = Line(stream).until(threading.Event())
    for _ in range(100):
        say(PROGRESS)
        say({"type": "event", "code": "x"})
    kinds = [message["type"] for message in _said(stream)]
    assert kinds.count("event") == 100
    assert kinds.count("progress") < 5


def test_a_run_is_stopped_at_progress_and_can_still_say_what_it_leaves() -> None:
    stream, stop = io.StringIO(), threading.Event()
    say = Line(stream).until(stop)
    stop.set()
    say({"type": "checkpoint", "step": 1})
    with pytest.raises(Stopped):
        say(PROGRESS)
    assert [message["type"] for message in _said(stream)] == ["checkpoint"]


def test_a_first_step_is_told_at_once() -> None:
    stream = io.StringIO()
    say = Line(stream).until(threading.Event())
    for step in range(4):
        say({**PROGRESS, "step": step})
    assert [message["step"] for message in _said(stream)] == [0, 1]
