"""The files of the README's first job, made as a user would have made them.

python -m examples.first_job data digits.npz
python -m examples.first_job teacher digits.npz splits.json teacher.pt
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from examples.demo import digits


def main() -> None:
    """Write the arrays, or train a teacher on the train rows of the service's own split."""
    parser = argparse.ArgumentParser(prog="python -m examples.first_job")
    commands = parser.add_subparsers(dest="command", required=True)
    data = commands.add_parser("data", help="write scikit-learn's digits as arrays")
    data.add_argument("arrays", type=Path)
    teacher = commands.add_parser("teacher", help="train a ResNet-18 in plain torch, and save it")
    for name in ("arrays", "splits", "checkpoint"):
        teacher.add_argument(name, type=Path)
    given = parser.parse_args()
    if given.command == "data":
        digits.write(given.arrays)
        return
    rows = json.loads(given.splits.read_text())["train"]
    digits.train_teacher(
        given.arrays,
        rows=rows,
        checkpoint=given.checkpoint,
        progress=lambda done, total: print(f"epoch {done} of {total}", flush=True),
    )


if __name__ == "__main__":
    main()
