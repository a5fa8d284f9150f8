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


def test_a_sweeps_variants_are_told_apart_and_the_selected_one_is_named(script: Script) -> None:
    figures = {"accuracy": {"mean": 0.5, "std": None, "values": [0.5]}}
    arm = {"student": "small", "arm": "distilled", "variant": "v2", "test": figures, "gap": None}
    result = {
        "metric": "accuracy", "teachers": [], "arms": [arm], "warnings": [], "best": None,
        "comparisons": [{"student": "small", "variant": "v2", "sentence": "It gained."}],
    }  # fmt: skip
    variants = [
        {"name": name, "changes": {"/objective/0/temperature": value}, "selected": name == "v2"}
        for name, value in (("v1", 1), ("v2", 4))
    ]
    report = {"object": "report", "result": result, "sweep": {"variants": variants}}
    script.on(f"/v1/jobs/{JOB}/report", as_json(report))
    lines = run(script, "report", JOB).stdout.splitlines()
    assert lines[1].split()[:3] == ["small", "distilled", "v2"]
    assert lines[3:] == [
        "v1: /objective/0/temperature = 1",
        "v2: /objective/0/temperature = 4 (selected by validation)",
        "small v2: It gained.",
    ]
