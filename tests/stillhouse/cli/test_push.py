from __future__ import annotations

import json
import subprocess
from pathlib import Path

from tests.stillhouse.cli.conftest import TEACHER, blobs, run, sent
from tests.stillhouse.conftest import Answer, Script, as_json

TENSORS = {
    "shape": [{"name": "conv1.weight", "found": [64, 3, 7, 7], "expected": [64, 1, 7, 7]}],
    "missing": ["fc.weight", "fc.bias"],
    "extra": ["head.0", "head.1", "head.2"],
    "total": 30,
}
REJECTED = {
    "object": "teacher",
    "id": TEACHER,
    "name": "t",
    "status": "rejected",
    "error": {"code": "teacher_mismatch", "detail": "It doesn't fit.", "tensors": TENSORS},
}


def push_rejected(script: Script, folder: Path, *more: str) -> subprocess.CompletedProcess[str]:
    (folder / "t.pt").write_bytes(b"weights")
    for blob in blobs("weights"):
        script.on(blob, Answer(200))
    script.on("/v1/teachers", as_json(REJECTED | {"status": "validating"}, 202))
    script.on(f"/v1/teachers/{TEACHER}", as_json(REJECTED, ETag='"1"'))
    words = ("push", "teacher", str(folder / "t.pt"), "--network", "timm/resnet18")
    return run(script, *words, *more)


def test_a_rejected_teacher_ends_with_1_and_names_tensors(script: Script, tmp_path: Path) -> None:
    done = push_rejected(script, tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[1:] == [
        "error: It doesn't fit. (teacher_mismatch)",
        "  conv1.weight is (64, 3, 7, 7), the network has (64, 1, 7, 7)",
        "  fc.weight is missing from the checkpoint",
        "  fc.bias is missing from the checkpoint",
        "  head.0 is not of the network",
        "  head.1 is not of the network",
        "  and 25 more",
    ]


def test_a_rejected_teacher_is_json_where_json_was_asked_for(
    script: Script, tmp_path: Path
) -> None:
    done = push_rejected(script, tmp_path, "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout) == REJECTED


def test_pixel_columns_of_a_csv_are_read_from_its_header(script: Script, tmp_path: Path) -> None:
    text = 'px1,label,px0,"px,2"\n0,a,0,0\n'
    (tmp_path / "digits.csv").write_text(text)
    for blob in blobs(text):
        script.on(blob, Answer(200))
    created = {"object": "dataset", "id": "ds_1", "name": "digits", "status": "validating"}
    script.on("/v1/datasets", as_json(created, 202))
    words = ("push", "dataset", str(tmp_path / "digits.csv"), "--no-wait", "--image", "px*")
    assert run(script, *words).returncode == 0
    assert sent(script, "/v1/datasets")["columns"] == {"input": ["px1", "px0", "px,2"]}


def test_a_large_upload_says_so_four_times_and_a_small_one_never(
    script: Script, tmp_path: Path
) -> None:
    large, small = "x" * 20_000_000, "x" * 900_000
    for blob in blobs(large, small):
        script.on(blob, Answer(404), Answer(201))
    created = {"object": "dataset", "id": "ds_1", "name": "d", "status": "validating"}
    script.on("/v1/datasets", as_json(created, 202))
    said = []
    for text in (large, small):
        (tmp_path / "d.npz").write_text(text)
        said.append(run(script, "push", "dataset", str(tmp_path / "d.npz"), "--no-wait").stderr)
    assert said[0].count("uploading d.npz: ") == 4
    assert "20,000,000 of 20,000,000 bytes" in said[0]
    assert said[1] == "d: validating\n"


def test_a_hub_folder_goes_up_file_by_file(script: Script, tmp_path: Path) -> None:
    for name in ("config.json", "model.safetensors", "pytorch_model.bin", "README.md"):
        (tmp_path / name).write_text(name)
    for blob in blobs("config.json", "model.safetensors"):
        script.on(blob, Answer(200))
    created = {"object": "teacher", "id": TEACHER, "name": "hub", "status": "validating"}
    script.on("/v1/teachers", as_json(created, 202))
    done = run(script, "push", "teacher", str(tmp_path), "--name", "hub", "--no-wait")
    assert (done.returncode, done.stdout) == (0, f"{TEACHER}\n")
    files = sent(script, "/v1/teachers")["weights"]["files"]
    assert sorted(files) == ["config.json", "model.safetensors"]


def test_of_a_transformers_folder_only_what_is_needed_goes_up(
    script: Script, tmp_path: Path
) -> None:
    needed = [
        "config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors.index.json",
        "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
    ]  # fmt: skip
    for name in (*needed, "trainer_state.json", "optimizer.pt", "vocab.txt"):
        (tmp_path / name).write_text(name)
    for blob in blobs(*needed):
        script.on(blob, Answer(200))
    created = {"object": "teacher", "id": TEACHER, "name": "hub", "status": "validating"}
    script.on("/v1/teachers", as_json(created, 202))
    done = run(script, "push", "teacher", str(tmp_path), "--name", "hub", "--no-wait")
    assert done.returncode == 0, done.stderr
    assert sorted(sent(script, "/v1/teachers")["weights"]["files"]) == sorted(needed)


def test_outputs_go_up_as_a_teacher_of_their_dataset(script: Script, tmp_path: Path) -> None:
    (tmp_path / "remote.npz").write_text("outputs")
    [blob] = blobs("outputs")
    script.on(blob, Answer(200))
    created = {"object": "teacher", "id": TEACHER, "name": "remote", "parameters": None}
    script.on("/v1/teachers", as_json(created | {"status": "validating"}, 202))
    script.on(f"/v1/teachers/{TEACHER}", as_json(created | {"status": "ready"}, ETag='"1"'))
    words = ("--dataset", "ds_1", "--kind", "probabilities", "--classes", "a,b")
    done = run(script, "push", "outputs", str(tmp_path / "remote.npz"), *words)
    assert (done.returncode, done.stdout) == (0, f"{TEACHER}\n"), done.stderr
    assert "remote: ready, known by its outputs" in done.stderr
    spec = sent(script, "/v1/teachers")
    assert spec["network"] == {"family": "outputs"}
    assert spec["outputs"] == {
        "dataset": "ds_1", "kind": "probabilities", "blob": blob.rpartition("/")[2],
    }  # fmt: skip
    assert spec["classes"] == ["a", "b"]


def test_a_set_of_texts_without_labels_says_so(script: Script, tmp_path: Path) -> None:
    text = "number,review\n1,good\n"
    (tmp_path / "reviews.csv").write_text(text)
    for blob in blobs(text):
        script.on(blob, Answer(200))
    created = {"object": "dataset", "id": "ds_1", "name": "reviews", "status": "validating"}
    script.on("/v1/datasets", as_json(created, 202))
    words = ("--no-wait", "--modality", "text", "--columns", "review", "--id", "number")
    run(script, "push", "dataset", str(tmp_path / "reviews.csv"), *words, "--unlabelled")
    spec = sent(script, "/v1/datasets")
    assert spec["modality"] == "text"
    assert spec["columns"] == {"input": "review", "id": "number", "label": None}
