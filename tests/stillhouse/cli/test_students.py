from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from tests.stillhouse.cli.conftest import JOB, STUDENT, run
from tests.stillhouse.conftest import Answer, Script, as_json

BYTES = b"x" * 2_000_000


def student(**fields: Any) -> dict[str, Any]:
    sha256 = hashlib.sha256(BYTES).hexdigest()
    files = [{"path": "model.safetensors", "bytes": len(BYTES), "sha256": sha256}]
    named = {"id": STUDENT, "job": JOB, "name": "small", "arm": "distilled", "seed": 0}
    return named | {"status": "final", "files": files, "metrics": None} | fields


def offer(script: Script) -> None:
    script.on(f"/v1/students/{STUDENT}", as_json(student()))
    script.on(f"/v1/students/{STUDENT}/files/model.safetensors", Answer(200, BYTES))


def test_a_pull_downloads_once_and_later_only_checks(script: Script, tmp_path: Path) -> None:
    offer(script)
    words = ("pull", STUDENT, "-o", str(tmp_path))
    first, second = run(script, *words), run(script, *words)
    assert first.stdout == second.stdout == f"{tmp_path}\n"
    assert "downloading to" in first.stderr
    assert len(first.stderr.splitlines()) <= 1 + 4
    assert second.stderr.splitlines()[1:] == [f"checking {tmp_path}: 2,000,000 of 2,000,000 bytes"]


def test_a_pull_onto_another_student_ends_with_2_and_names_its_files(
    script: Script, tmp_path: Path
) -> None:
    offer(script)
    (tmp_path / "model.pt2").write_bytes(b"old")
    done = run(script, "pull", STUDENT, "-o", str(tmp_path))
    assert (done.returncode, done.stdout) == (2, "")
    assert f"error: '{tmp_path}' holds model.pt2, which {STUDENT} doesn't have" in done.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["model.pt2"]


def test_a_pull_into_a_file_ends_with_2_and_a_sentence(script: Script, tmp_path: Path) -> None:
    offer(script)
    (tmp_path / "file").write_bytes(b"mine")
    for place, said in (
        (tmp_path / "file", "is a file; name a folder"),
        (tmp_path / "file" / "below", "Not a directory."),
    ):
        done = run(script, "pull", STUDENT, "-o", str(place))
        assert done.returncode == 2
        assert said in done.stderr
        assert "Errno" not in done.stderr


def test_students_are_listed_with_what_they_reached(script: Script) -> None:
    metrics = {"train": {}, "validation": {"accuracy": 0.9412}, "test": None}
    page = as_json({"data": [student(metrics=metrics)], "has_more": False})
    script.on(f"/v1/jobs/{JOB}/students", page)
    title, line = run(script, "students", "--job", JOB).stdout.splitlines()
    assert " ".join(title.split()) == "student job name arm seed status validation test"
    assert line.split() == [STUDENT, JOB, "small", "distilled", "0", "final", "94.12%"]
    listed = run(script, "students", "--job", JOB, "--json").stdout
    assert json.loads(listed) == [student(metrics=metrics)]
