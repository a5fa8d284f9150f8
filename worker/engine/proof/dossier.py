"""What is laid beside a student once its job has been judged."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from worker.engine.proof import card, caveats, naming
from worker.engine.proof.arms import Trained
from worker.engine.proof.measurement import Bench
from worker.protocol import Assignment


def write(
    assignment: Assignment, bench: Bench, trained: list[Trained], result: dict[str, Any]
) -> list[tuple[str, Path]]:
    """Write card and report beside each student's predictions.

    Args:
        assignment: The report run.
        bench: Where the students were measured; each has its folder there.
        trained: The students.
        result: The job's result.

    Returns:
        Listed name and place of each file; a name begins with its student's id.
    """
    opened = caveats.opened_before(caveats.opened(assignment))
    listing: list[tuple[str, Path]] = []
    for student in trained:
        folder = bench.work / student.id
        subject = _subject(assignment, bench, student)
        page = card.make(subject, result, opened=opened)
        (folder / "README.md").write_text(page, encoding="utf-8")
        text = json.dumps(
            _student_report(assignment, bench, student, result), indent=2, ensure_ascii=False,
            allow_nan=False,
        )  # fmt: skip
        (folder / "report.json").write_text(text + "\n", encoding="utf-8")
        listing += [(f"{student.id}/{file.name}", file) for file in sorted(folder.iterdir())]
    return listing


def _subject(assignment: Assignment, bench: Bench, student: Trained) -> card.Subject:
    return card.Subject(
        trained=student,
        network=bench.network_of(student.student, student.variant),
        fed=bench.input_of(student.student, student.variant),
        classes=bench.classes,
        job=assignment["job"],
        teachers=tuple(naming.of_teachers(assignment).values()),
        dataset=bench.dataset,
        version=str(assignment["context"].get("version", "")),
    )


def _student_report(
    assignment: Assignment, bench: Bench, student: Trained, result: dict[str, Any]
) -> dict[str, Any]:
    """The job's report as it stands beside one student."""
    return {
        "object": "report",
        "job": assignment["job"],
        "student": {
            "id": student.id,
            "name": student.student,
            "arm": student.arm,
            "variant": student.variant,
            "seed": student.seed,
            **student.figures,
            "gap": student.gap,
            "agreement": student.agreement,
            "kl": student.divergence,
            "exports": list(student.exports),
        },
        "spec": bench.specs[student.variant].model_dump(mode="json"),
        "result": result,
    }
