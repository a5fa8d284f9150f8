"""One example from its data to a downloaded student: `python -m examples.run image`.

A folder of `examples/` has `data.py`, which writes real data, and the specs that are sent:
`dataset.json`, sometimes `teacher.json`, and `job.json`. In them "@dataset" and "@teacher" stand
for ids, "@<file>" for the SHA-256 of a file that `data.py` wrote and that is uploaded.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from examples.demo import service
from stillhouse.cli import report, terminal
from stillhouse.client import Client

HERE = Path(__file__).parent
MODALITIES = ("image", "text", "tabular", "sequence")


def main(words: list[str] | None = None) -> int:
    """Run an example; 0 if its job succeeded."""
    parser = argparse.ArgumentParser(prog="python -m examples.run", description=__doc__)
    parser.add_argument("modality", choices=MODALITIES)
    parser.add_argument("--url", help="of a running service; without it, one is started")
    parser.add_argument("--output", type=Path, help="a folder; default: example-MODALITY")
    parser.add_argument("--rows", type=int, help="less data (text and tables: of each class)")
    parser.add_argument("--epochs", type=int, help="so many for every network, and one seed")
    given = parser.parse_args(words)
    folder = (given.output or Path(f"example-{given.modality}")).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with _service(given.url, folder) as url, Client(url) as client:
        done = run(client, given.modality, folder, rows=given.rows, epochs=given.epochs)
    return 0 if done["status"] == "succeeded" else 1


def run(
    client: Client, modality: str, folder: Path, *, rows: int | None, epochs: int | None
) -> dict[str, Any]:
    """Data, dataset, teacher, job, report, student.

    Args:
        client: Of a service.
        modality: An example.
        folder: Where its data and its student go.
        rows: How much data; None: the example's own.
        epochs: For every network; None: the example's own.

    Returns:
        The job, when it is over.
    """
    size = {} if rows is None else {"rows": rows}
    import_module(f"examples.{modality}.data").write(folder, **size)
    names = {"dataset": "", "teacher": ""}
    sent = Specs(client, HERE / modality, folder, names, epochs)
    names["dataset"] = client.wait_ready(client.create_dataset(sent.read("dataset"))["id"])["id"]
    if (HERE / modality / "teacher.json").exists():
        names["teacher"] = client.create_teacher(sent.read("teacher"))["id"]
        client.wait_ready(names["teacher"])
    job = client.wait(client.submit(sent.read("job"))["id"])
    if job["status"] != "succeeded":
        terminal.say(f"{job['id']} {job['status']}: {(job['error'] or {}).get('detail')}")
        return job
    result = client.report(job["id"])["result"]
    terminal.print_table(report.table(result))
    for line in report.sentences(result):
        terminal.say(line)
    client.download(client.best(job["id"])["id"], folder / "student")
    terminal.say(f"the best student is in {folder / 'student'}")
    return job


class Specs:
    """The specs of an example, with everything put in that is known so far."""

    def __init__(
        self, client: Client, source: Path, data: Path, names: dict[str, str], epochs: int | None
    ) -> None:
        self._client = client
        self._source = source
        self._data = data
        self._names = names
        self._epochs = epochs

    def read(self, name: str) -> dict[str, Any]:
        """A spec as it is sent."""
        text = (self._source / f"{name}.json").read_text(encoding="utf-8")
        filled: dict[str, Any] = self.fill(json.loads(text))
        return filled

    def fill(self, value: Any) -> Any:
        """A value with ids, hashes and epochs put in."""
        if isinstance(value, dict):
            filled = {key: self.fill(inner) for key, inner in value.items()}
            if self._epochs is not None:  # a short run, to see that it works
                short = {"epochs": self._epochs, "seeds": 1}
                filled |= {key: value for key, value in short.items() if key in filled}
            return filled
        if isinstance(value, list):
            return [self.fill(inner) for inner in value]
        if not isinstance(value, str) or not value.startswith("@"):
            return value
        name = value.removeprefix("@")
        return (
            self._names[name] if name in self._names else self._client.put_blob(self._data / name)
        )


@contextlib.contextmanager
def _service(url: str | None, folder: Path) -> Iterator[str]:
    if url is not None:
        yield url
        return
    with service.running(folder) as own:
        yield own


if __name__ == "__main__":
    sys.exit(main())
