from __future__ import annotations

import re

from tests.stillhouse.cli.conftest import JOB, run
from tests.stillhouse.conftest import Script, as_json


def test_a_report_is_a_table_with_its_sentences_below(script: Script) -> None:
    figures = {"accuracy": {"mean": 0.9583, "std": 0.004, "values": [0.954, 0.9626]}}
    latency = [{"batch": 1, "median_ms": 1.25}, {"batch": 64, "median_ms": 9.0}]
    sizes = {"parameters": 1234567, "bytes": 5000, "latency": latency}
    arm = {"student": "small", "arm": "distilled", "test": figures, "gap": {"mean": 0.03}, **sizes}
    teacher = {"test": {"accuracy": 0.98}, "gap": 0.02, **sizes}
    result = {
        "metric": "accuracy",
        "teachers": [teacher],
        "arms": [arm],
        "comparisons": [{"student": "small", "sentence": "[bold] It gained 1.2 points."}],
        "warnings": [{"code": "classes_by_position", "message": "Aligned by index."}],
        "best": {"student": "stu_1", "why": "highest validation accuracy"},
    }
    script.on(f"/v1/jobs/{JOB}/report", as_json({"object": "report", "result": result}))
    lines = [re.sub(r" +", " ", line) for line in run(script, "report", JOB).stdout.splitlines()]
    assert lines[1].strip() == "teacher 98.00% +2.00 1,234,567 5,000 1.25"
    assert lines[2].strip() == "small distilled 95.83% ± 0.40 +3.00 1,234,567 5,000 1.25"
    assert lines[0].split("gap, points")[0].strip() == "network arm test accuracy"
    assert lines[3:] == [
        "gap: train less test, in percentage points; the larger, the more over-fitted.",
        "small: [bold] It gained 1.2 points.",
        "warning: Aligned by index. (classes_by_position)",
        "best: stu_1, highest validation accuracy",
    ]
