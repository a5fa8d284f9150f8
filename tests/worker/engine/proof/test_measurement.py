from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from stillhouse.spec import ResolvedJob
from tests.worker.conftest import CLASSES, CPU, MLP, Lab
from worker.engine import networks, predict, teacher
from worker.engine.data import parts
from worker.engine.proof import measurement
from worker.engine.proof.measurement import Bench
from worker.engine.serving import student_folder
from worker.protocol import TeacherFiles, TrainedStudent

WIDE = MLP | {"options": {"hidden": [32]}}


def _bench(lab: Lab, *, work: Path, specs: Any = None) -> Bench:
    return Bench(
        specs=specs or {None: ResolvedJob.model_validate(lab.spec())},
        dataset="ds_" + "d" * 26,
        classes=10,
        parts={name: parts.open_part(path) for name, path in lab.parts().items()},
        device=CPU,
        files={},
        work=work,
        advance=lambda: None,
    )


def _recorded(lab: Lab, bench: Bench) -> TeacherFiles:
    """A teacher by what its network says of all rows, written in another order."""
    loaded = teacher.load(lab.teacher(), classes=10, device=CPU)
    said = [
        predict.logits(loaded.network, part, loaded.feed, batch_size=64, device=CPU).numpy()
        for part in bench.parts.values()
    ]
    rows = np.concatenate([np.asarray(part.rows) for part in bench.parts.values()])
    path = lab.folder / "outputs.npz"
    np.savez(path, outputs=np.concatenate(said)[::-1], rows=rows[::-1])
    return lab.teacher(weights=None, outputs=str(path), outputs_kind="logits")


def test_a_teacher_by_its_outputs_has_its_networks_figures_and_no_size(
    lab: Lab, tmp_path: Path
) -> None:
    bench = _bench(lab, work=tmp_path)
    there = measurement.of_teacher(bench, lab.teacher())
    said = measurement.of_teacher(bench, _recorded(lab, bench))
    for part in ("train", "validation", "test"):
        assert said.figures[part] == pytest.approx(there.figures[part], abs=1e-5)
    assert said.test_logits is not None
    assert there.test_logits is not None
    assert torch.allclose(said.test_logits, there.test_logits, atol=1e-5)
    assert (said.items, said.figures["parameters"], said.figures["latency"]) == (0, None, [])
    assert there.items == 220


def _student(lab: Lab, bench: Bench, variant: str) -> TrainedStudent:
    network = bench.network_of("small", variant)
    files = student_folder.write(
        lab.folder / variant,
        networks.build(network, classes=10, fed=bench.input_of("small", variant)),
        spec=network,
        input=bench.input_of("small", variant),
        classes=CLASSES,
    )
    return {
        "id": f"stu_{variant}", "student": "small", "arm": "distilled", "variant": variant,
        "fold": None, "seed": 0, "files": {file.name: str(file) for file in files}, "result": {},
    }  # fmt: skip


def test_each_variant_of_a_student_is_measured_as_its_own_network(lab: Lab, tmp_path: Path) -> None:
    students = [{"name": "small", "network": network} for network in (MLP, WIDE)]
    specs = {
        name: ResolvedJob.model_validate(
            lab.spec(students=[student | {"input": lab.spec()["students"][0]["input"]}])
        )
        for name, student in zip(("v1", "v2"), students, strict=True)
    }
    bench = _bench(lab, work=tmp_path, specs={None: specs["v1"], **specs})
    made = [_student(lab, bench, name) for name in specs]
    found = measurement.of_students(bench, made, reference=None)
    assert [one.variant for one in found] == ["v1", "v2"]
    assert [one.parameters for one in found] == [64 * 24 + 24 + 250, 64 * 32 + 32 + 330]
    assert found[0].latency is not found[1].latency
