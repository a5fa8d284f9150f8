"""`python -m worker.intake`: one assignment from standard input, one message, the end.

The order matters: files are hidden before torch starts its threads; sockets, programs
and resources go after the imports and before the first look at the user's bytes.
"""

from __future__ import annotations

import importlib
import json
import logging
import os
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import cast

from stillhouse.errors import InputRejected
from worker import disk
from worker.intake import lockdown
from worker.protocol import MESSAGE_FD_VARIABLE, IntakeAssignment, Message


def main() -> None:
    """Take in what standard input names, and report it."""
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    lockdown.die_with_parent()
    assignment = cast("IntakeAssignment", json.loads(sys.stdin.readline()))
    work = Path(assignment["work"])
    lockdown.confine_files(work, [Path(path) for path in assignment["sources"].values()])
    taker = importlib.import_module(f"worker.intake.{assignment['kind']}")
    lockdown.close_doors(work, assignment["limits"])
    _send(_message(taker, assignment))


def _message(taker: ModuleType, assignment: IntakeAssignment) -> Message:
    try:
        result, files = taker.take(assignment)
    except InputRejected as rejected:
        return {
            "type": "failed",
            "code": rejected.rejected_code,
            "detail": rejected.detail,
            "field": rejected.field,
            "extra": rejected.extra,
        }
    except MemoryError:
        traceback.print_exc()
        return _failed("limit_exceeded", "This needs more memory than intake has; send less.")
    except Exception as error:  # noqa: BLE001  # hostile bytes: whatever they cause has an answer
        traceback.print_exc()
        if disk.is_full(error):
            return _failed(disk.CODE, disk.DETAIL)
        return _failed("intake_failed", "These bytes could not be read; the log says more.")
    return {"type": "succeeded", "result": result, "files": files}


def _failed(code: str, detail: str) -> Message:
    return {"type": "failed", "code": code, "detail": detail, "field": None, "extra": {}}


def _send(message: Message) -> None:
    with os.fdopen(int(os.environ[MESSAGE_FD_VARIABLE]), "wb") as pipe:
        pipe.write(json.dumps(message, allow_nan=False).encode() + b"\n")


if __name__ == "__main__":
    main()
