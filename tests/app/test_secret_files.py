import threading
from pathlib import Path

import pytest

from app import secret_files


def test_a_file_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "below" / "secret"
    assert secret_files.keep(path, lambda: "one") == ("one", True)
    assert secret_files.keep(path, lambda: "two") == ("one", False)
    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["secret"]


def test_the_mode_is_as_asked_for_whatever_the_umask(tmp_path: Path) -> None:
    secret_files.keep(tmp_path / "a", lambda: "x", mode=0o444)
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o444


def test_of_many_who_make_it_at_once_all_read_the_same(tmp_path: Path) -> None:
    gate, seen = threading.Barrier(8), list[tuple[str, bool]]()

    def make(number: int) -> None:
        gate.wait()
        seen.append(secret_files.keep(tmp_path / "key", lambda: str(number) * 5000))

    threads = [threading.Thread(target=make, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({text for text, _ in seen}) == 1
    assert sum(is_new for _, is_new in seen) == 1
    assert [file.name for file in tmp_path.iterdir()] == ["key"]


def test_what_can_not_be_made_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        secret_files.keep(tmp_path / "file" / "secret", lambda: "x")
