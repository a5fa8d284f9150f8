from __future__ import annotations

import io
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest


def test_the_result_says_what_is_there(intake: Any, npz: Callable[..., Path], digits: Any) -> None:
    x, y = digits
    result = intake.dataset(npz(x=x, y=y)).result
    assert result["classes"] == ["0", "1", "2"]
    assert result["rows"] == {"train": 42, "validation": 6, "test": 12, "unlabelled": 0}
    assert result["class_counts"]["test"] == [4, 4, 4]
    assert result["input"] == {"size": [4, 4], "channels": "gray"}
    assert result["dtype"] == "uint8"
    assert result["format"] == "npz"
    assert result["duplicates"] == {"across_parts": 0}
    assert result["warnings"] == []
    assert {row["class"] for row in result["preview"]} == {"0", "1", "2"}
    assert all(row["image"].startswith("data:image/png;base64,") for row in result["preview"])


def test_the_same_rows_give_the_same_bytes(
    intake: Any, npz: Callable[..., Path], digits: Any
) -> None:
    x, y = digits
    first, second = intake.dataset(npz(x=x, y=y)), intake.dataset(npz(x=x, y=y))
    assert first.result["fingerprint"] == second.result["fingerprint"]
    for name, file in first.listed.items():
        assert file["sha256"] == second.listed[name]["sha256"]


def test_parts_are_stored_plain_and_aligned_so_that_they_can_be_mapped(
    intake: Any, npz: Callable[..., Path], digits: Any
) -> None:
    x, y = digits
    path = intake.dataset(npz(x=x / 255, y=y)).files["train.npz"]
    with zipfile.ZipFile(path) as archive:
        infos = archive.infolist()
    assert [info.filename for info in infos] == ["x.npy", "y.npy", "rows.npy"]
    for info in infos:
        assert info.compress_type == zipfile.ZIP_STORED
        assert info.date_time == (1980, 1, 1, 0, 0, 0)
        head = path.read_bytes()[info.header_offset :][:30]
        start = info.header_offset + 30 + head[26] + head[28] + 256 * (head[27] + head[29])
        assert start % 64 == 0
        assert path.read_bytes()[start : start + 6] == b"\x93NUMPY"


def test_float64_is_taken_as_it_is_in_float32(
    intake: Any, npz: Callable[..., Path], digits: Any
) -> None:
    x, y = digits
    taken = intake.dataset(npz(x=x / 100 - 1, y=y))
    train = taken.part("train")
    assert train["x"].dtype == np.float32
    assert np.array_equal(train["x"][..., 0], (x / 100 - 1).astype(np.float32)[train["rows"]])


def test_classes_in_another_order_give_the_same_rows_and_images(
    intake: Any, npz: Callable[..., Path], digits: Any
) -> None:
    x, y = digits
    names = np.asarray(["cat", "dog", "owl"])
    given = intake.dataset(npz(x=x, y=names[y]))
    turned = intake.dataset(npz(x=x, y=names[y]), classes=["owl", "cat", "dog"])
    assert given.result["classes"] == ["cat", "dog", "owl"]
    for part in ("train", "validation", "test"):
        one, other = given.part(part), turned.part(part)
        assert np.array_equal(one["rows"], other["rows"])
        assert np.array_equal(one["x"], other["x"])
        assert np.array_equal((one["y"] + 1) % 3, other["y"])


def test_images_in_two_parts_are_counted_once_each(
    intake: Any, npz: Callable[..., Path], digits: Any
) -> None:
    x, y = digits
    source = npz(x_train=x, y_train=y, x_test=x[[0, 0, 5]], y_test=y[[0, 0, 5]])
    taken = intake.dataset(source, splits={"validation": 0})
    assert taken.result["duplicates"] == {"across_parts": 2}


def test_a_class_without_rows_is_kept_with_a_warning(
    intake: Any, npz: Callable[..., Path], digits: Any
) -> None:
    x, y = digits
    result = intake.dataset(npz(x=x, y=y), classes=["a", "b", "c", "d"]).result
    assert result["classes"] == ["a", "b", "c", "d"]
    assert [warning["code"] for warning in result["warnings"]] == ["classes_without_rows"]


def test_input_resizes_arrays_and_converts_channels_only_when_asked(
    intake: Any, npz: Callable[..., Path], digits: Any
) -> None:
    x, y = digits
    gray = intake.dataset(npz(x=x, y=y), input={"size": [6, 2]})
    assert gray.part("train")["x"].shape[1:] == (6, 2, 1)
    rgb = intake.dataset(npz(x=x, y=y), input={"size": [4, 4], "channels": "rgb"})
    assert np.array_equal(rgb.part("train")["x"][..., 2], x[rgb.part("train")["rows"]])


def test_a_column_of_keras_labels_is_accepted(
    intake: Any, npz: Callable[..., Path], digits: Any
) -> None:
    x, y = digits
    assert intake.dataset(npz(x=x, y=y[:, None].astype(np.uint8))).result["rows"]["test"] == 12


def test_a_compressed_npz_is_the_same_dataset(
    intake: Any, npz: Callable[..., Path], digits: Any
) -> None:
    x, y = digits
    content = io.BytesIO()
    np.savez_compressed(content, x=x, y=y)
    small = intake.dataset(intake.write("small.npz", content.getvalue()))
    assert small.result["fingerprint"] == intake.dataset(npz(x=x, y=y)).result["fingerprint"]


BAD_ARRAYS: dict[str, tuple[str, Callable[[Any, Any], dict[str, Any]]]] = {
    "one class": ("one_class", lambda x, y: {"x": x, "y": y * 0}),
    "no rows": ("dataset_empty", lambda x, y: {"x": x[:0], "y": y[:0]}),
    "an object array": ("npz_object_array", lambda x, y: {"x": x, "y": y.astype(object)}),
    "images of int64": ("image_dtype", lambda x, y: {"x": x.astype(np.int64), "y": y}),
    "channels first": ("image_shape", lambda x, y: {"x": np.stack([x] * 3, 1), "y": y}),
    "flat images": ("image_shape", lambda x, y: {"x": x.reshape(60, 16), "y": y}),
    "a NaN pixel": ("non_finite_pixels", lambda x, y: {"x": x * np.nan, "y": y}),
    "an infinity in float32": ("non_finite_pixels", lambda x, y: {"x": x * 1e300, "y": y}),
    "a negative label": ("label_out_of_range", lambda x, y: {"x": x, "y": y - 1}),
    "a label of 10^9": ("label_out_of_range", lambda x, y: {"x": x, "y": y * 10**9}),
    "a NaN label": ("label_not_integer", lambda x, y: {"x": x, "y": y * np.nan}),
    "half labels": ("label_not_integer", lambda x, y: {"x": x, "y": y / 2}),
    "one-hot labels": ("label_shape", lambda x, y: {"x": x, "y": np.eye(3)[y]}),
    "dates for labels": ("label_not_integer", lambda x, y: {"x": x, "y": y.astype("M8[s]")}),
    "a label with a line break": (
        "label_invalid",
        lambda x, y: {"x": x, "y": np.asarray(["a", "b", "c\nd"])[y]},
    ),
    "a label that is no text": (
        "label_invalid",
        lambda x, y: {"x": x, "y": (y.astype(np.uint32) + 0x110000).view("<U1")},
    ),
    "fewer labels": ("rows_differ", lambda x, y: {"x": x, "y": y[:-1]}),
    "no labels": ("labels_missing", lambda x, _: {"x": x}),
    "other keys": ("npz_keys", lambda x, y: {"images": x, "labels": y}),
    "two validations": (
        "npz_keys",
        lambda x, y: {
            f"{axis}_{part}": array
            for part in ("train", "val", "valid")
            for axis, array in (("x", x), ("y", y))
        },
    ),
    "test alone": ("npz_keys", lambda x, y: {"x_test": x, "y_test": y}),
}


@pytest.mark.parametrize("name", BAD_ARRAYS)
def test_bad_arrays_are_refused_by_name(
    name: str, intake: Any, npz: Callable[..., Path], digits: Any, refused: Callable[..., Any]
) -> None:
    code, arrays = BAD_ARRAYS[name]
    refused(code, lambda: intake.dataset(npz(**arrays(*digits))))


BAD_SPECS: dict[str, tuple[str, dict[str, Any]]] = {
    "too few classes": ("label_out_of_range", {"classes": ["a", "b"]}),
    "classes without labels": ("labels_missing", {"columns": {"label": None}, "classes": ["a"]}),
    "parts without labels": (
        "split_conflicts",
        {"columns": {"label": None}, "splits": {"test": 0.5}},
    ),
    "ids without columns": ("column_missing", {"columns": {"id": "id"}}),
    "texts in arrays": ("format_not_for_modality", {"modality": "text"}),
    "another format": ("format_differs", {"format": "parquet"}),
    "a split column": ("split_conflicts", {"splits": {"column": "part"}}),
    "an enormous input": ("limit_exceeded", {"input": {"size": [4096, 4096]}, "limits": 1 << 27}),
}


@pytest.mark.parametrize("name", BAD_SPECS)
def test_a_specification_that_does_not_fit_the_data_is_refused(
    name: str, intake: Any, npz: Callable[..., Path], digits: Any, refused: Callable[..., Any]
) -> None:
    code, spec = BAD_SPECS[name]
    source = npz(x=digits[0], y=digits[1])
    refused(code, lambda: intake.dataset(source, **spec))


def test_unknown_names_are_refused(
    intake: Any, npz: Callable[..., Path], digits: Any, refused: Callable[..., Any]
) -> None:
    x, y = digits
    source = npz(x=x, y=np.asarray(["cat", "dog", "owl"])[y])
    assert (
        "owl"
        in refused("label_unknown", lambda: intake.dataset(source, classes=["cat", "dog"])).detail
    )


def test_truncated_and_foreign_bytes_are_refused(
    intake: Any, npz: Callable[..., Path], digits: Any, refused: Callable[..., Any]
) -> None:
    whole = npz(x=digits[0], y=digits[1]).read_bytes()
    refused("zip_invalid", lambda: intake.dataset(intake.write("cut", whole[:-30])))
    refused("zip_invalid", lambda: intake.dataset(intake.write("tail", whole + b"tail")))
    damaged = bytearray(whole)
    damaged[200] ^= 1
    refused("archive_damaged", lambda: intake.dataset(intake.write("bit", bytes(damaged))))
    refused("dataset_empty", lambda: intake.dataset(intake.write("empty", b"")))
    refused("format_not_supported", lambda: intake.dataset(intake.folder))
    refused("format_not_supported", lambda: intake.dataset(intake.write("?", bytes(range(256)))))


def test_an_array_that_grows_out_of_proportion_is_refused(
    intake: Any, refused: Callable[..., Any]
) -> None:
    content = io.BytesIO()
    np.savez_compressed(content, x=np.zeros((90_000, 32, 32), np.uint8), y=np.zeros(90_000))
    source = intake.write("bomb.npz", content.getvalue())
    refused("archive_bomb", lambda: intake.dataset(source))


def test_a_header_that_claims_more_than_the_file_holds_is_refused(
    intake: Any, npz: Callable[..., Path], digits: Any, refused: Callable[..., Any]
) -> None:
    x, y = digits
    with zipfile.ZipFile(io.BytesIO(npz(x=x, y=y).read_bytes())) as source:
        members = {name: source.read(name) for name in source.namelist()}
    members["x.npy"] = members["x.npy"].replace(b"(60, 4, 4)", b"(60, 4, 9)")
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    source_path = intake.write("lying.npz", content.getvalue())
    refused("npz_invalid", lambda: intake.dataset(source_path))
