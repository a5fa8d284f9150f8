"""The child process that computes: one run after another, told by lines, answering by lines.

    python -m worker.trainer

It holds no credentials, no database and no broker. A supervisor writes assignments and "stop"
to standard input (see `worker.protocol`) and reads messages from the descriptor named by
STILLHOUSE_MESSAGE_FD. When standard input ends, so does this process, at once and wherever it
is: nobody is left who could publish its work.
"""

from __future__ import annotations

import gc
import json
import logging
import os
import queue
import signal
import sys
import threading
import traceback
from pathlib import Path
from typing import Any, assert_never

# cuBLAS reads it when a GPU is first used; without it `deterministic` is refused there.
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

import torch

from stillhouse.errors import InputRejected, RunFailed
from stillhouse.spec import ResolvedJob
from worker import disk
from worker.engine import device, networks, prepare, seal, train_run
from worker.engine.proof import report
from worker.engine.stop import Say, Stopped
from worker.line import Line
from worker.protocol import Assignment, File, Message

log = logging.getLogger(__name__)

Listing = list[tuple[str, Path]]
Order = tuple[Assignment, threading.Event]
"""A run, and whether it has been told to stop."""


def main() -> None:
    """Serve assignments until standard input ends."""
    # Ctrl-C reaches the whole group; it is the supervisor who decides what becomes of a run.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stdout)
    # Its notes on loading name paths of this machine, which tell a user nothing.
    logging.getLogger("timm").setLevel(logging.WARNING)
    line = Line.of_environment()
    orders: queue.SimpleQueue[Order] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(orders,), daemon=True).start()
    known = networks.published_figures()
    catalogue = [[*key, *known.get(key, (None, None))] for key in networks.names()]
    line.send({"type": "ready", "extra": device.describe() | {"networks": catalogue}})
    while True:
        assignment, stop = orders.get()
        log.info("%s begins: %s", assignment["kind"], _describe(assignment))
        line.send(_execute(assignment, say=line.until(stop)))
        _forget()


def _describe(assignment: Assignment) -> str:
    """One line for the log: what is run, on what."""
    who = [assignment["student"], assignment["arm"]]
    named = " ".join(str(item) for item in who if item is not None)
    seed = "" if assignment["seed"] is None else f" seed {assignment['seed']}"
    where = f"{assignment['device']}, {assignment['threads']} thread(s)"
    return f"{named}{seed} ({where}, torch {torch.__version__})".strip()


def _listen(orders: queue.SimpleQueue[Order]) -> None:
    """Turn standard input into orders; its end is the end of this process."""
    stop = threading.Event()
    for text in sys.stdin.buffer:
        told: dict[str, Any] = json.loads(text)
        if told["type"] == "stop":
            stop.set()
            continue
        stop = threading.Event()
        orders.put((told, stop))  # type: ignore[arg-type]  # the supervisor writes Assignments
    os._exit(0)


def _execute(assignment: Assignment, *, say: Say) -> Message:
    """Do a run; whatever happens, the answer is its last message."""
    try:
        return _succeed(*_run(assignment, say=say))
    except Stopped:
        return {"type": "stopped"}
    except InputRejected as error:
        return {
            "type": "failed",
            "code": error.rejected_code,
            "detail": error.detail,
            "field": error.field,
            "extra": error.extra,
        }
    except RunFailed as error:
        return {"type": "failed", "code": error.failure, "detail": error.detail}
    except Exception as error:  # noqa: BLE001 - a defect of ours ends the run, not the process
        traceback.print_exc()
        code, detail = _blame(error)
        return {"type": "failed", "code": code, "detail": detail}


def _blame(error: Exception) -> tuple[str, str]:
    """The code and the sentence for an error that nobody raised on purpose."""
    if disk.is_full(error):
        return disk.CODE, disk.DETAIL
    if device.is_out_of_memory(error):
        return "out_of_memory", _OUT_OF_MEMORY
    return "internal", _INTERNAL


def _run(assignment: Assignment, *, say: Say) -> tuple[dict[str, Any], Listing]:
    training = ResolvedJob.model_validate(assignment["spec"]).training
    device.configure(threads=assignment["threads"], deterministic=training.deterministic is True)
    chosen: Assignment = {**assignment, "device": str(device.choose(assignment["device"]))}
    match assignment["kind"]:
        case "estimate" | "prepare":
            return prepare.make(chosen, say=say)
        case "train":
            return train_run.make(chosen, say=say)
        case "report":
            return report.make(chosen, say=say)
        case _:
            assert_never(assignment["kind"])


_OUT_OF_MEMORY = "The memory was not enough; take a smaller batch_size or a smaller network."
_INTERNAL = "Something unexpected happened in the trainer; the run's log has it."


def _succeed(result: dict[str, Any], listing: Listing) -> Message:
    files: list[File] = [seal.file(path, listed=name) for name, path in listing]
    for folder in {path.parent for _, path in listing}:
        seal.folder(folder)
    return {"type": "succeeded", "result": result, "files": files}


def _forget() -> None:
    """Give back what a run held, for the next one."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
