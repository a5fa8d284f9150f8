from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import typer

from stillhouse.cli import flags


def test_a_network_is_a_family_and_a_name() -> None:
    assert flags.network("timm/resnet18") == {"family": "timm", "name": "resnet18"}


def test_option_values_are_json_or_else_text() -> None:
    assert flags.options(["in_chans=1", "stem_type=deep", "channels=[8, 16]"]) == {
        "in_chans": 1,
        "stem_type": "deep",
        "channels": [8, 16],
    }


def test_classes_come_from_the_flag_or_from_a_file_with_one_a_line(tmp_path: Path) -> None:
    (tmp_path / "names").write_text("cat\n\ndog, brown\n")
    assert flags.classes("cat, dog") == ["cat", "dog"]
    assert flags.classes(f"@{tmp_path / 'names'}") == ["cat", "dog, brown"]


def test_an_input_is_height_by_width_and_one_number_is_a_square() -> None:
    found = flags.image_input("16x24", gray=True, mean=[0.5], std=[0.25])
    assert found == {"size": [16, 24], "channels": "gray", "mean": [0.5], "std": [0.25]}
    assert flags.image_input("32", gray=None, mean=(), std=()) == {"size": [32, 32]}
    assert flags.image_input(None, gray=None, mean=(), std=()) is None


def test_what_a_teacher_saw_is_parts_of_a_dataset_or_a_word() -> None:
    assert flags.trained_on("disjoint") == "disjoint"
    assert flags.trained_on("ds_1:train,test") == {"dataset": "ds_1", "parts": ["train", "test"]}


def test_a_file_without_a_good_name_still_gets_one() -> None:
    assert flags.object_name(None, Path("/data/my digits (2).npz")) == "my digits -2-"
    assert flags.object_name(None, Path("/data/ünï.npz")) == "n-"
    assert flags.object_name("mine", Path("/data/other.npz")) == "mine"


def test_an_assignment_reaches_into_objects_and_lists() -> None:
    spec: dict[str, Any] = {"students": [{"name": "a"}]}
    flags.place(spec, "training.batch_size=64")
    flags.place(spec, "students.0.name=b")
    flags.place(spec, "seeds=[1, 5]")
    assert spec == {"students": [{"name": "b"}], "training": {"batch_size": 64}, "seeds": [1, 5]}


@pytest.mark.parametrize(
    "bad", ["training", "=1", "seeds.0=1", "students.7.name=b", "students.x=1"]
)
def test_an_assignment_that_leads_nowhere_is_wrong_usage(bad: str) -> None:
    with pytest.raises(typer.BadParameter):
        flags.place({"seeds": 3, "students": [{}]}, bad)


@pytest.mark.parametrize("bad", ["resnet18", "timm/", "/resnet18"])
def test_half_a_network_is_wrong_usage(bad: str) -> None:
    with pytest.raises(typer.BadParameter):
        flags.network(bad)


@pytest.mark.parametrize("bad", ["32 by 32", "x32", "32x32x3"])
def test_a_size_that_is_none_is_wrong_usage(bad: str) -> None:
    with pytest.raises(typer.BadParameter):
        flags.image_input(bad, gray=None, mean=(), std=())


def test_channels_without_a_size_are_wrong_usage() -> None:
    with pytest.raises(typer.BadParameter):
        flags.image_input(None, gray=True, mean=(), std=())


@pytest.mark.parametrize("bad", ["ds_1", "train", "tch_1:train", "ds_1:"])
def test_a_teachers_past_that_says_nothing_is_wrong_usage(bad: str) -> None:
    with pytest.raises(typer.BadParameter):
        flags.trained_on(bad)


def test_a_sweeps_values_are_json_with_or_without_brackets_or_else_texts() -> None:
    found = flags.sweep(["a.0.b=1", "c=[1, 2]", "d=x,y", "e/f=true,null"])
    assert found == {
        "kind": "grid",
        "parameters": {"/a/0/b": [1], "/c": [1, 2], "/d": ["x", "y"], "/e~1f": [True, None]},
    }


def test_a_student_may_be_its_own_teacher() -> None:
    assert flags.teacher("self") == {"self": {}}
    assert flags.teacher("tch_1") == {"id": "tch_1"}
