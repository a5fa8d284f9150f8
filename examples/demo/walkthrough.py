"""The way of the demo: from data and a teacher to a student whose figure is recomputed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from examples.demo import digits, service
from stillhouse import errors
from stillhouse.cli import report, submit, terminal, watch
from stillhouse.client import Client

Json = Mapping[str, Any]

_RECOMPUTE = Path(__file__).with_name("recompute.py")


def job_spec(teacher: str, dataset: str) -> dict[str, Any]:
    """Two students of the teacher's own architecture, with and without it, three seeds each."""
    return {
        "name": "digits, two students",
        "teachers": [{"id": teacher}],
        "dataset": dataset,
        "students": [
            _narrow_resnet18("quarter-width", first=16),
            _narrow_resnet18("eighth-width", first=8),
        ],
        "training": {
            "epochs": digits.EPOCHS,
            "batch_size": digits.BATCH_SIZE,
            "optimizer": {"kind": "sgd", "lr": digits.LEARNING_RATE},
            "schedule": {"kind": "one_cycle"},
        },
        "seeds": 3,
    }


def _narrow_resnet18(name: str, *, first: int) -> dict[str, Any]:
    options = {"channels": [first, first * 2, first * 4, first * 8]}
    return {"name": name, "network": {"family": "timm", "name": "resnet18", "options": options}}


def run(folder: Path) -> bool:
    """The whole way; whether the recomputed accuracy is the reported one."""
    arrays = folder / "digits.npz"
    digits.write(arrays)
    _say(f"starting the service; its log is {folder / 'service.log'}")
    with service.running(folder) as url, Client(url) as client:
        dataset = _push_dataset(client, arrays)
        splits = folder / "splits.json"
        splits.write_text(json.dumps(client.splits(dataset)), encoding="utf-8")
        teacher = _push_teacher(client, arrays, dataset=dataset, splits=splits)
        job = _distil(client, teacher=teacher, dataset=dataset)
        best = client.best(job)
        student = folder / "student"
        with terminal.bytes_bar(f"downloading {best['id']}") as progress:
            client.download(best["id"], student, progress=progress)
        found = client.report(job)
    recomputed = _recompute(student, arrays, splits)
    _show(found["result"])
    return _agree(found["result"], best=best, recomputed=recomputed, student=student)


def _push_dataset(client: Client, arrays: Path) -> str:
    with terminal.bytes_bar("uploading the dataset") as progress:
        blob = client.put_blob(arrays, progress=progress)
    spec = {"name": "digits", "source": {"blob": blob}, "classes": digits.CLASSES}
    dataset = client.wait_ready(client.create_dataset(spec)["id"])
    rows = dataset["rows"]
    _say(f"dataset: {rows['train']} train, {rows['validation']} validation, {rows['test']} test")
    return str(dataset["id"])


def _push_teacher(client: Client, arrays: Path, *, dataset: str, splits: Path) -> str:
    checkpoint = arrays.with_name("teacher.pt")
    rows = json.loads(splits.read_text(encoding="utf-8"))["train"]
    _say(f"training a teacher, a ResNet-18, in plain torch on the {len(rows)} train rows alone")
    tenths = terminal.Steps(10)

    def progress(done: int, total: int) -> None:
        if tenths.is_new(done / total):
            _say(f"  teacher: epoch {done} of {total}")

    digits.train_teacher(arrays, rows=rows, checkpoint=checkpoint, progress=progress)
    with terminal.bytes_bar("uploading the teacher") as bar:
        blob = client.put_blob(checkpoint, progress=bar)
    spec = digits.teacher_spec(dataset) | {"weights": {"blob": blob}}
    return str(client.wait_ready(client.create_teacher(spec)["id"])["id"])


def _distil(client: Client, *, teacher: str, dataset: str) -> str:
    spec = job_spec(teacher, dataset)
    _say(f"submitting: {submit.plan(spec, client.estimate(spec))}")
    job = str(client.submit(spec)["id"])
    with watch.shown() as progress:
        ended = client.wait(job, progress=progress)
    if ended["status"] != "succeeded":
        error = ended["error"] or {"code": ended["status"], "detail": "The job didn't succeed."}
        raise errors.RunFailed(error["code"], error["detail"])
    return job


def _recompute(student: Path, arrays: Path, splits: Path) -> Json:
    """Counts again in a process that can import nothing of this checkout."""
    command = [sys.executable, "-I", str(_RECOMPUTE), str(student), str(arrays), str(splits)]
    answer = subprocess.run(command, cwd=student, check=True, stdout=subprocess.PIPE, text=True)
    counted: Json = json.loads(answer.stdout)
    return counted


def _show(result: Json) -> None:
    out = terminal.console()
    out.print()
    out.print(report.table(result))
    out.print(report.LEGEND, soft_wrap=True)
    out.print()
    for line in report.sentences(result):
        out.print(line, soft_wrap=True)


def _agree(result: Json, *, best: Json, recomputed: Json, student: Path) -> bool:
    reported = _reported_accuracy(result, best["id"])
    print(f"\nbest by validation: {best['name']} ({best['arm']}, seed {best['seed']}), {student}")
    print(f"test accuracy reported    {reported!r}")
    print(f"test accuracy recomputed  {recomputed['accuracy']!r}  (plain timm, a fresh process:")
    print(f"                          {recomputed['correct']} of {recomputed['items']} right)")
    same = bool(reported == recomputed["accuracy"])
    print("They are the same." if same else "They DIFFER: the report can't be trusted.")
    return same


def _reported_accuracy(result: Json, student: str) -> float:
    arm = next(arm for arm in result["arms"] if student in arm["students"])
    place = arm["students"].index(student)
    return float(arm["test"]["accuracy"]["values"][place])


def _say(message: str) -> None:
    print(message, flush=True)


def _leave(_signal: int, _frame: object) -> None:
    sys.exit(143)  # through every `finally`, so that the service ends too


def main() -> int:
    """Runs the demo in a folder of its own; 1 when the figures differ or something failed."""
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGHUP, _leave)
    began = time.monotonic()
    folder = Path("demo-data").resolve() / time.strftime("%Y%m%d-%H%M%S")
    folder.mkdir(parents=True)
    try:
        same = run(folder)
    except errors.StillhouseError as error:
        print(f"{terminal.sentence(error)}\nThe service's log: {folder / 'service.log'}")
        return 1
    except KeyboardInterrupt:
        print("interrupted; the service is stopped")
        return 130
    print(f"\nEverything lies in {folder}; it took {time.monotonic() - began:.0f} s.")
    return 0 if same else 1
