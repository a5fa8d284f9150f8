"""How this process logs: one line an event on standard error, with what it was about.

`bound` names the request, or the job, run and attempt, and every line below it carries them.
"""

from __future__ import annotations

import logging
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from types import TracebackType
from typing import Any

from pythonjsonlogger.core import RESERVED_ATTRS
from pythonjsonlogger.json import JsonFormatter

from core.settings import Settings

log = logging.getLogger("stillhouse")

_bound: ContextVar[Mapping[str, Any]] = ContextVar("bound", default={})  # noqa: B039 - never changed
# A line break, or what a terminal takes for a command, would let a message pose as other lines.
# One that turns the direction of writing would let a line read as what it doesn't say.
_TURNS = [0x061C, 0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
_CONTROLS = [*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, *_TURNS]
_ESCAPES = {code: f"\\x{code:02x}" for code in _CONTROLS} | {0x09: "\\t", 0x0A: "\\n", 0x0D: "\\r"}


def configure(settings: Settings) -> None:
    """Log to standard error, also what warns and what ends this process or a thread."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_json() if settings.log_format == "json" else _Lines())
    handler.addFilter(_complete)
    logging.basicConfig(level=settings.log_level, handlers=[handler], force=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # it would write signed addresses
    logging.captureWarnings(capture=True)
    sys.excepthook = _last_words
    threading.excepthook = _last_words_of_a_thread


@contextmanager
def bound(**fields: Any) -> Iterator[None]:
    """Name what the lines of this block are about; None is left out.

    A thread that is started within knows of it only if it runs in a copy of the context.
    """
    named = {key: value for key, value in fields.items() if value is not None}
    token = _bound.set({**_bound.get(), **named})
    try:
        yield
    finally:
        _bound.reset(token)


def context() -> Mapping[str, Any]:
    """What is bound here."""
    return _bound.get()


def escape(text: str) -> str:
    """A text on one line, its control characters written out."""
    return text if text.isprintable() else text.translate(_ESCAPES)


class _Lines(logging.Formatter):
    """For people; a traceback is indented, so that no line of it looks like another message."""

    def format(self, record: logging.LogRecord) -> str:
        named = " ".join(f"{key}={value}" for key, value in _bound.get().items())
        line = f"{vars(record)['time']} {record.levelname} {record.name}: {record.getMessage()}"
        line = escape(f"{line} [{named}]" if named else line)
        below = self.formatException(record.exc_info) if record.exc_info else ""
        return "\n  ".join([line, *(escape(each) for each in below.split("\n") if each)])


def _json() -> logging.Formatter:
    return JsonFormatter(
        ["time", "levelname", "name", "message"],
        rename_fields={"levelname": "level", "name": "logger", "exc_info": "exception"},
        reserved_attrs=[*RESERVED_ATTRS, "color_message"],  # uvicorn's twin of the message
    )


def _complete(record: logging.LogRecord) -> bool:
    moment = datetime.fromtimestamp(record.created, tz=UTC)
    vars(record).update(_bound.get(), time=moment.isoformat(timespec="milliseconds")[:-6] + "Z")
    return True


def _last_words(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    if issubclass(kind, KeyboardInterrupt):
        return
    log.critical("this process ends: %s: %s", kind.__name__, error, exc_info=(kind, error, trace))


def _last_words_of_a_thread(ended: threading.ExceptHookArgs) -> None:
    error = ended.exc_value
    if error is not None and not isinstance(error, SystemExit):
        name = ended.thread.name if ended.thread else "?"
        log.critical("thread %s ends: %s: %s", name, type(error).__name__, error, exc_info=error)
