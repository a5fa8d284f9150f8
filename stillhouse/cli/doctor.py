"""The command that looks whether a deployment is well."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict

import typer
from rich.table import Table

from stillhouse import errors, examination
from stillhouse.cli import terminal
from stillhouse.cli.terminal import AsJson
from stillhouse.connection import Connection
from stillhouse.examination import Finding, NotThere

TIMEOUT_SECONDS = 15.0
SHOWN = {"ok": "ok", "warn": "WARN", "fail": "FAIL", "skip": "-"}


def doctor(*, as_json: AsJson = False) -> None:
    """Look whether the service is well, and say in plain words what isn't and what to do.

    Ends with 0 if all works, 1 if something fails, 2 if no key is like that, 4 if no service
    answers.
    """
    url = os.environ.get("STILLHOUSE_URL") or "http://127.0.0.1:8000"
    key = os.environ.get("STILLHOUSE_KEY")
    found, exit_code = _examine(url, key)
    if as_json:
        terminal.show({"url": url, "status": _worst(found), "findings": [asdict(f) for f in found]})
    else:
        _print(found)
    raise typer.Exit(exit_code)


def _examine(url: str, key: str | None) -> tuple[list[Finding], int]:
    """What was found, and the exit code."""
    found: list[Finding] = []
    try:
        connection = Connection(url, key=key, timeout=TIMEOUT_SECONDS, first_patience=0.0)
    except errors.MalformedKey as error:
        return [Finding("key", "fail", error.detail, "Correct STILLHOUSE_KEY.")], 2
    except errors.Malformed as error:
        return [Finding("reach", "fail", error.detail, "Correct STILLHOUSE_URL.")], 4
    connection.patience_seconds = 3.0
    try:
        found.extend(examination.examine(connection, has_key=bool(key and key.strip())))
    except NotThere as missing:
        return [*found, missing.finding], 4
    finally:
        connection.close()
    return found, 1 if _worst(found) == "fail" else 0


def _worst(found: Sequence[Finding]) -> str:
    statuses = {each.status for each in found}
    return next((status for status in ("fail", "warn") if status in statuses), "ok")


def _print(found: Sequence[Finding]) -> None:
    table = Table(box=None, pad_edge=False, show_header=False)
    for each in found:
        said = each.message if each.remedy is None else f"{each.message}\n{each.remedy}"
        table.add_row(SHOWN.get(each.status, each.status), each.check, said)
    terminal.print_table(table)
    count = Counter(each.status for each in found)
    terminal.say(f"{count['fail']} failed, {count['warn']} to look at, {count['ok']} well")
