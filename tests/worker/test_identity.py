from __future__ import annotations

import os
from pathlib import Path

from core.settings import Settings
from worker import identity


def test_names_of_one_folder_differ_by_their_slot_and_stay(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    first, second = identity.take(settings), identity.take(settings)
    assert (first.is_only_worker, second.is_only_worker) == (True, False)
    base, _, slot = first.name.rpartition("#")
    assert (slot, second.name) == ("0", f"{base}#1")
    os.close(first.lock)  # as the kernel does when the process ends
    again = identity.take(settings)
    assert again.name == first.name
    os.close(second.lock)
    os.close(again.lock)


def test_machines_that_were_given_the_same_name_have_different_ones(tmp_path: Path) -> None:
    names = []
    for machine in ("one", "other"):
        taken = identity.take(Settings(data_dir=tmp_path / machine, worker_name="gpu-box"))
        os.close(taken.lock)
        names.append(taken.name)
    assert names[0] != names[1]
    assert all(name.startswith("gpu-box-") and name.endswith("#0") for name in names)


def test_a_name_stays_with_its_folder_when_the_container_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "locks").mkdir()
    (tmp_path / "locks" / "name").write_text("a1b2c3-3f9a12cd")  # an older container's
    taken = identity.take(Settings(data_dir=tmp_path))
    os.close(taken.lock)
    assert taken.name == "a1b2c3-3f9a12cd#0"


def test_a_long_name_is_cut_to_what_a_column_holds(tmp_path: Path) -> None:
    taken = identity.take(Settings(data_dir=tmp_path, worker_name="n" * 500))
    os.close(taken.lock)
    assert len(taken.name) <= 128
    assert taken.name.endswith("#0")
