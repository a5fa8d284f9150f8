import io
import tarfile
from typing import Any

import pytest
from starlette.testclient import TestClient

from core import students
from core.tables import Student
from tests.stage import Stage


@pytest.fixture
def database_url(sqlite_url: str) -> str:
    """Bytes come from the storage, not from a database."""
    return sqlite_url


@pytest.fixture
def student(stage: Stage) -> Student:
    job = stage.job(controls=[])
    stage.play()
    with stage.database.read() as session:
        return students.of_job(session, job)[0]


@pytest.fixture
def content(student: Student, stage: Stage) -> bytes:
    file = next(item for item in student.files if item["path"] == "model.safetensors")
    return b"".join(stage.storage.read(file["sha256"], 0, file["bytes"]))


def weights_of(student: Student) -> str:
    return f"/v1/students/{student.id}/files/model.safetensors"


def test_a_student_answers_with_all_its_fields(client: TestClient, student: Student) -> None:
    response = client.get(f"/v1/students/{student.id}")
    body = response.json()
    assert set(body) == {
        "object", "id", "name", "metadata", "tenant", "created_by", "created_at", "job",
        "teacher", "dataset", "run", "arm", "variant", "fold", "seed", "status", "files",
        "metrics", "network", "input", "classes", "bytes", "latency_ms",
    }  # fmt: skip
    assert (body["object"], body["status"], body["arm"]) == ("student", "final", "distilled")
    assert [file["path"] for file in body["files"]] == [
        "config.json", "model.safetensors", "report.json",
    ]  # fmt: skip
    assert set(body["metrics"]) == {"train", "validation", "test"}
    tag = {"if-none-match": response.headers["etag"]}
    assert client.get(f"/v1/students/{student.id}", headers=tag).status_code == 304


def test_a_file_comes_whole_with_its_hash(
    client: TestClient, student: Student, content: bytes
) -> None:
    response = client.get(weights_of(student))
    listed = next(file for file in student.files if file["path"] == "model.safetensors")
    assert (response.status_code, response.content) == (200, content)
    assert response.headers["etag"] == f'"{listed["sha256"]}"'
    assert response.headers["content-length"] == str(len(content))
    assert response.headers["accept-ranges"] == "bytes"
    assert "immutable" in response.headers["cache-control"]
    assert 'filename="model.safetensors"' in response.headers["content-disposition"]
    assert response.headers["x-content-type-options"] == "nosniff"


def test_head_says_what_get_would(client: TestClient, student: Student, content: bytes) -> None:
    response = client.head(weights_of(student))
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["content-length"] == str(len(content))
    whole = client.get(weights_of(student)).headers
    assert response.headers["etag"] == whole["etag"]
    partial = client.head(weights_of(student), headers={"range": "bytes=0-9"})
    assert (partial.status_code, partial.headers["content-length"]) == (206, "10")


@pytest.mark.parametrize(
    ("sent", "part"),
    [
        ("bytes=0-0", slice(0, 1)), ("bytes=0-99", slice(0, 100)),
        ("bytes=100-199", slice(100, 200)), ("bytes=100-", slice(100, None)),
        ("bytes=-10", slice(-10, None)), ("bytes=5-9999999", slice(5, None)),
        ("bytes=-9999999", slice(0, None)),
    ],
)  # fmt: skip
def test_one_range_is_answered_as_a_part(
    client: TestClient, student: Student, content: bytes, sent: str, part: slice
) -> None:
    response = client.get(weights_of(student), headers={"range": sent})
    expected = content[part]
    assert (response.status_code, response.content) == (206, expected)
    assert response.headers["content-length"] == str(len(expected))
    first = part.indices(len(content))[0]
    last = first + len(expected) - 1
    assert response.headers["content-range"] == f"bytes {first}-{last}/{len(content)}"


@pytest.mark.parametrize("sent", ["bytes=999999-", "bytes=-0", "bytes=" + "9" * 30 + "-"])
def test_a_range_outside_the_file_is_416(
    client: TestClient, student: Student, content: bytes, sent: str
) -> None:
    response = client.get(weights_of(student), headers={"range": sent})
    assert (response.status_code, response.json()["code"]) == (416, "range_not_satisfiable")
    assert response.headers["content-range"] == f"bytes */{len(content)}"


@pytest.mark.parametrize("sent", ["bytes=0-1,5-6", "lines=0-1", "bytes=-", "bytes=x-y", "bytes"])
def test_what_is_no_single_range_is_answered_whole(
    client: TestClient, student: Student, content: bytes, sent: str
) -> None:
    response = client.get(weights_of(student), headers={"range": sent})
    assert (response.status_code, response.content) == (200, content)


def test_a_download_goes_on_only_with_the_same_file(
    client: TestClient, student: Student, content: bytes
) -> None:
    tag = client.head(weights_of(student)).headers["etag"]
    same = client.get(weights_of(student), headers={"range": "bytes=10-", "if-range": tag})
    other = client.get(weights_of(student), headers={"range": "bytes=10-", "if-range": '"x"'})
    assert (same.status_code, same.content) == (206, content[10:])
    assert (other.status_code, other.content) == (200, content)


def test_a_file_that_the_client_has_is_not_sent(client: TestClient, student: Student) -> None:
    tag = client.head(weights_of(student)).headers["etag"]
    response = client.get(weights_of(student), headers={"if-none-match": f'"y", {tag}'})
    assert (response.status_code, response.content) == (304, b"")


@pytest.mark.parametrize("path", ["missing", "../secret", "..%2f..%2fstillhouse.db", "%00", ""])
def test_only_listed_files_are_served(client: TestClient, student: Student, path: str) -> None:
    response = client.get(f"/v1/students/{student.id}/files/{path}")
    assert response.status_code in (404, 422)
    assert "problem" in response.headers["content-type"]


def test_a_file_whose_bytes_are_gone_is_not_found(
    client: TestClient, student: Student, stage: Stage
) -> None:
    for file in student.files:
        stage.storage.delete(file["sha256"])
    assert client.get(weights_of(student)).status_code == 404
    assert client.get(f"/v1/students/{student.id}/archive").status_code == 404


def test_an_archive_holds_the_files_and_its_length_is_right(
    client: TestClient, student: Student
) -> None:
    response = client.get(f"/v1/students/{student.id}/archive")
    assert response.status_code == 200
    assert int(response.headers["content-length"]) == len(response.content)
    with tarfile.open(fileobj=io.BytesIO(response.content)) as archive:
        found = {member.name: archive.extractfile(member) for member in archive.getmembers()}
        contents = {name: file.read() for name, file in found.items() if file is not None}
    expected = {
        f"{student.id}/{file['path']}": client.get(
            f"/v1/students/{student.id}/files/{file['path']}"
        ).content
        for file in student.files
    }
    assert contents == expected


def test_a_student_can_be_renamed_and_deleted(client: TestClient, student: Student) -> None:
    path = f"/v1/students/{student.id}"
    changed: dict[str, Any] = client.patch(path, json={"metadata": {"stage": "prod"}}).json()
    assert (changed["metadata"], changed["name"]) == ({"stage": "prod"}, student.name)
    assert client.delete(path).status_code == 204
    assert client.get(path).status_code == 404


def test_a_student_of_a_running_job_stays(client: TestClient, stage: Stage) -> None:
    job = stage.job()
    stage.play_until("report")
    made = client.get(f"/v1/jobs/{job}/students").json()["data"]
    assert {student["status"] for student in made} == {"trained"}
    response = client.delete(f"/v1/students/{made[0]['id']}")
    assert (response.status_code, response.json()["used_by"]) == (409, [job])
