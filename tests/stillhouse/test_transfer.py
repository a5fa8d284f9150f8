from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from stillhouse import errors
from stillhouse.client import Client
from tests import servers
from tests.stillhouse.conftest import Answer, Request, Script, as_json

STUDENT = "stu_01jd0000000000000000000000"
BYTES = bytes(range(256)) * 1000
SHA256 = hashlib.sha256(BYTES).hexdigest()
FILE = f"/v1/students/{STUDENT}/files/model.safetensors"


def offer(script: Script, path: str = "model.safetensors") -> None:
    files = [{"path": path, "bytes": len(BYTES), "sha256": SHA256}]
    script.on(f"/v1/students/{STUDENT}", as_json({"id": STUDENT, "files": files}))


def fetched(script: Script) -> list[Request]:
    return [request for request in script.requests if request.path == FILE]


def test_a_download_cut_midway_goes_on_from_the_byte_it_reached(
    script: Script, tmp_path: Path
) -> None:
    offer(script)
    at = 100_000
    tail = {"Content-Range": f"bytes {at}-{len(BYTES) - 1}/{len(BYTES)}"}
    script.on(FILE, Answer(200, BYTES, sent=at), Answer(206, BYTES[at:], tail))
    with Client(script.url) as client:
        client.download(STUDENT, tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == BYTES
    second = fetched(script)[1].headers
    assert (second["Range"], second["If-Range"]) == (f"bytes={at}-", f'"{SHA256}"')
    assert [file.name for file in tmp_path.iterdir()] == ["model.safetensors"]


def test_a_partial_file_of_an_earlier_process_is_gone_on_with(
    script: Script, tmp_path: Path
) -> None:
    offer(script)
    (tmp_path / "model.safetensors.part").write_bytes(BYTES[:7])
    script.on(FILE, Answer(206, BYTES[7:]))
    seen: list[tuple[int, int]] = []
    with Client(script.url) as client:
        client.download(STUDENT, tmp_path, progress=lambda done, total: seen.append((done, total)))
    assert (tmp_path / "model.safetensors").read_bytes() == BYTES
    assert fetched(script)[0].headers["Range"] == "bytes=7-"
    assert seen[-1] == (len(BYTES), len(BYTES))


def test_a_link_is_followed_without_the_key_and_gone_on_with(
    script: Script, tmp_path: Path
) -> None:
    offer(script)
    at = 100_000
    script.on(FILE, Answer(307, headers={"Location": f"{script.url}/bucket/key?signed=1"}))
    script.on("/bucket/key", Answer(200, BYTES, sent=at), Answer(206, BYTES[at:]))
    with Client(script.url, key="secret") as client:
        client.download(STUDENT, tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == BYTES
    assert "Authorization" in fetched(script)[0].headers
    there = [request.headers for request in script.requests if "signed=1" in request.path]
    assert there[1]["Range"] == f"bytes={at}-"
    for sent in there:  # the store knows neither our keys nor our ETags
        assert not {"Authorization", "If-Range"} & set(sent)


def test_a_link_that_leads_nowhere_is_named(script: Script, tmp_path: Path) -> None:
    offer(script)
    nowhere = f"http://127.0.0.1:{servers.free_port()}"
    script.on(FILE, Answer(307, headers={"Location": f"{nowhere}/bucket/key"}))
    with Client(script.url) as client:
        client._connection.patience_seconds = 0.5  # a user would wait a minute
        with pytest.raises(errors.Unavailable) as caught:
            client.download(STUDENT, tmp_path)
    assert nowhere in caught.value.detail
    assert "STILLHOUSE_S3_PUBLIC_ENDPOINT" in caught.value.detail


def test_a_service_that_ignores_ranges_is_read_from_the_start(
    script: Script, tmp_path: Path
) -> None:
    offer(script)
    (tmp_path / "model.safetensors.part").write_bytes(b"old")
    script.on(FILE, Answer(200, BYTES))
    with Client(script.url) as client:
        client.download(STUDENT, tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == BYTES
    assert len(fetched(script)) == 1


def test_damaged_bytes_are_fetched_once_more(script: Script, tmp_path: Path) -> None:
    offer(script)
    script.on(FILE, Answer(200, b"x" + BYTES[1:]), Answer(200, BYTES))
    with Client(script.url) as client:
        client.download(STUDENT, tmp_path)
    assert (tmp_path / "model.safetensors").read_bytes() == BYTES


@pytest.mark.parametrize("wrong", [b"x" + BYTES[1:], BYTES + b"x", BYTES[:-1]])
def test_bytes_damaged_twice_are_an_error_and_leave_nothing(
    script: Script, tmp_path: Path, wrong: bytes
) -> None:
    offer(script)
    script.on(FILE, Answer(200, wrong))
    with Client(script.url) as client, pytest.raises(errors.DigestMismatch):
        client.download(STUDENT, tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert len(fetched(script)) == 2


def test_what_is_there_and_intact_is_not_fetched_again(script: Script, tmp_path: Path) -> None:
    offer(script)
    (tmp_path / "model.safetensors").write_bytes(BYTES)
    with Client(script.url) as client:
        client.download(STUDENT, tmp_path)
    assert fetched(script) == []


def test_files_that_are_there_are_checked_and_others_are_progress(
    script: Script, tmp_path: Path
) -> None:
    files = [
        {"path": path, "bytes": len(BYTES), "sha256": SHA256}
        for path in ("model.safetensors", "config.json")
    ]
    script.on(f"/v1/students/{STUDENT}", as_json({"id": STUDENT, "files": files}))
    script.on(FILE, Answer(200, BYTES))
    (tmp_path / "config.json").write_bytes(BYTES)
    checked: list[tuple[int, int]] = []
    brought: list[tuple[int, int]] = []
    with Client(script.url) as client:
        for _ in range(2):
            client.download(
                STUDENT,
                tmp_path,
                progress=lambda *counts: brought.append(counts),
                checking=lambda *counts: checked.append(counts),
            )
    size = len(BYTES)
    assert checked == [(size, size), (size, 2 * size), (2 * size, 2 * size)]
    assert brought[-1] == (2 * size, 2 * size)
    assert len(fetched(script)) == 1


@pytest.mark.parametrize("name", ["model.pt2", "model.onnx", "README.md", "predictions.npz"])
def test_a_folder_with_a_file_of_another_student_is_refused_and_stays_as_it_is(
    script: Script, tmp_path: Path, name: str
) -> None:
    offer(script)
    (tmp_path / name).write_text("another student's")
    (tmp_path / "model.safetensors").write_text("another student's")
    with Client(script.url) as client, pytest.raises(FileExistsError, match=f"holds {name}, "):
        client.download(STUDENT, tmp_path)
    assert {file.read_text() for file in tmp_path.iterdir()} == {"another student's"}
    assert len(list(tmp_path.iterdir())) == 2
    assert fetched(script) == []


def test_a_folder_with_other_files_takes_a_student(script: Script, tmp_path: Path) -> None:
    offer(script)
    script.on(FILE, Answer(200, BYTES))
    (tmp_path / "notes.txt").write_text("mine")
    with Client(script.url) as client:
        client.download(STUDENT, tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["model.safetensors", "notes.txt"]


def test_a_file_in_the_folders_place_is_refused_with_a_sentence(
    script: Script, tmp_path: Path
) -> None:
    offer(script)
    (tmp_path / "student").write_text("mine")
    with Client(script.url) as client, pytest.raises(NotADirectoryError, match="is a file; name"):
        client.download(STUDENT, tmp_path / "student")
    assert (tmp_path / "student").read_text() == "mine"


@pytest.mark.parametrize(
    "path", ["../model", "/etc/model", "a/../../model", ".ssh/key", "a\\b", ""]
)
def test_a_service_cannot_write_outside_the_folder(
    script: Script, tmp_path: Path, path: str
) -> None:
    offer(script, path=path)
    with Client(script.url) as client, pytest.raises(errors.Malformed):
        client.download(STUDENT, tmp_path / "in")


def test_known_bytes_are_not_sent(script: Script, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(BYTES)
    script.on(f"/v1/blobs/{SHA256}", Answer(200))
    with Client(script.url) as client:
        assert client.put_blob(tmp_path / "file") == SHA256
    assert [request.method for request in script.requests] == ["HEAD"]


def test_an_upload_that_failed_is_sent_again_from_the_start(script: Script, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(BYTES)
    script.on(f"/v1/blobs/{SHA256}", Answer(404), Answer(503), Answer(201))
    with Client(script.url) as client:
        assert client.put_blob(tmp_path / "file") == SHA256
    first, second = [request for request in script.requests if request.method == "PUT"]
    assert first.body == second.body == BYTES
    assert "Transfer-Encoding" not in second.headers


def test_an_empty_file_goes_up_and_down(script: Script, tmp_path: Path) -> None:
    empty = hashlib.sha256(b"").hexdigest()
    (tmp_path / "file").write_bytes(b"")
    script.on(f"/v1/blobs/{empty}", Answer(404), Answer(201))
    files = [{"path": "model.safetensors", "bytes": 0, "sha256": empty}]
    script.on(f"/v1/students/{STUDENT}", as_json({"id": STUDENT, "files": files}))
    script.on(FILE, Answer(200))
    with Client(script.url) as client:
        assert client.put_blob(tmp_path / "file") == empty
        client.download(STUDENT, tmp_path / "in")
    assert (tmp_path / "in" / "model.safetensors").read_bytes() == b""
