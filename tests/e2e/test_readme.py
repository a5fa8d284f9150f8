"""The README's first job, exactly as printed, from a fresh service to a downloaded student."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.servers import CHECKOUT, Service


def test_the_first_job_by_hand_ends_with_a_student(tmp_path: Path) -> None:
    blocks = re.findall(r"```bash\n(.*?)```", (CHECKOUT / "README.md").read_text(), re.DOTALL)
    assert len(blocks) == 3
    (tmp_path / "data").mkdir()
    service = Service(tmp_path / "data")
    service.start()
    try:
        # The printed lines name the default port and .venv; nothing else is changed.
        script = "set -eu\n" + "\n".join(blocks)
        script = script.replace("http://127.0.0.1:8000", service.url)
        script = script.replace(".venv/bin/python", f"PYTHONPATH={CHECKOUT} {sys.executable}")
        done = subprocess.run(
            ["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
        )
    finally:
        service.stop()
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"sentence": ' in done.stdout
    students = list((tmp_path / "first-job").glob("stu_*/model.safetensors"))
    assert len(students) == 1
