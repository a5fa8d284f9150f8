from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from stillhouse.errors import InputRejected

PIXELS = [f"p{number}" for number in range(16)]


def csv(header: list[str], rows: list[list[Any]]) -> bytes:
    lines = [",".join(map(str, line)) for line in [header, *rows]]
    return ("\n".join(lines) + "\n").encode()


def pixel_csv(x: Any, y: Any) -> bytes:
    flat = x.reshape(len(x), -1).tolist()
    return csv(["label", *PIXELS], [[y, *row] for row, y in zip(flat, y, strict=True)])


def test_all_formats_of_the_same_rows_give_the_same_dataset(
    intake: Any,
    npz: Callable[..., Path],
    parquet: Callable[..., Path],
    digits: Any,
) -> None:
    x, y = digits
    columns = {"input": PIXELS}
    expected = intake.dataset(npz(x=x, y=y)).result["fingerprint"]
    flat = x.reshape(60, 16)
    wide = {"label": y} | {name: flat[:, at] for at, name in enumerate(PIXELS)}
    lists = {"label": y, "image": flat.tolist()}
    text = intake.write("t.csv", pixel_csv(x, y))
    assert intake.dataset(text, columns=columns).result["fingerprint"] == expected
    assert intake.dataset(parquet(wide), columns=columns).result["fingerprint"] == expected
    assert intake.dataset(parquet(lists)).result["fingerprint"] == expected


def test_encoded_images_and_class_names_of_hugging_face_are_read(
    intake: Any, parquet: Callable[..., Path], png: Callable[..., bytes], digits: Any
) -> None:
    _, y = digits
    images = [{"bytes": png(seed), "path": None} for seed in range(60)]
    names = {"info": {"features": {"label": {"names": ["cat", "dog", "owl"]}}}}
    source = parquet({"image": images, "label": y}, {"huggingface": json.dumps(names)})
    assert intake.dataset(source).result["classes"] == ["cat", "dog", "owl"]
    turned = intake.dataset(source, classes=["owl", "dog", "cat"])
    assert turned.result["classes"] == ["owl", "dog", "cat"]
    train = turned.part("train")
    assert np.array_equal(2 - train["y"], y[train["rows"]])


def test_a_split_column_gives_the_parts_and_rows_keep_the_tables_numbers(
    intake: Any, digits: Any
) -> None:
    x, y = digits
    flat = x.reshape(60, 16).tolist()
    parts = ["test" if row % 5 == 0 else "train" for row in range(60)]
    rows = [[part, label, *row] for part, label, row in zip(parts, y, flat, strict=True)]
    content = csv(["split", "label", *PIXELS], rows)
    taken = intake.dataset(
        intake.write("t.csv", content), columns={"input": PIXELS}, splits={"column": "split"}
    )
    assert taken.part("test")["rows"].tolist() == list(range(0, 60, 5))
    train = taken.part("train")
    assert np.array_equal(train["x"][..., 0], x[train["rows"]])


def test_numbers_in_a_csv_are_names_where_the_classes_say_so(intake: Any, digits: Any) -> None:
    x, y = digits
    source = intake.write("t.csv", pixel_csv(x, y))
    by_name = intake.dataset(source, columns={"input": PIXELS}, classes=["2", "1", "0"])
    train = by_name.part("train")
    assert np.array_equal(2 - train["y"], y[train["rows"]])


def test_fractions_in_a_csv_are_taken_as_they_are(intake: Any, digits: Any) -> None:
    x, y = digits
    source = intake.write("t.csv", pixel_csv(x / 255, y))
    taken = intake.dataset(source, columns={"input": PIXELS})
    assert taken.result["dtype"] == "float32"
    assert np.allclose(taken.part("test")["x"][..., 0], x[taken.part("test")["rows"]] / 255)


BAD_CSV: dict[str, tuple[str, bytes, dict[str, Any]]] = {
    "no such label": ("column_missing", b"a,b\n1,2\n", {"input": ["a"], "label": "c"}),
    "no such pixel": ("column_missing", b"a,label\n1,2\n", {"input": ["b"]}),
    "a column twice": ("column_missing", b"a,a,label\n1,2,3\n", {"input": ["a"]}),
    "names of files": ("csv_images", b"image,label\nx.png,1\n", {"input": "image"}),
    "text for a pixel": ("csv_invalid", b"a,label\nx,1\n", {"input": ["a"]}),
    "a short line": ("csv_invalid", b"a,label\n1\n", {"input": ["a"]}),
    "no square": ("pixel_count", b"a,b,label\n1,2,0\n", {"input": ["a", "b"]}),
    "no rows": ("dataset_empty", b"a,label\n", {"input": ["a"]}),
    "an empty label": ("labels_missing", b"a,label\n1,\n2,1\n", {"input": ["a"]}),
    "an empty pixel": ("non_finite_pixels", b"a,label\n1,0\n,1\n", {"input": ["a"]}),
    "half a label": ("label_not_integer", b"a,label\n1,0.5\n2,1\n", {"input": ["a"]}),
    "not UTF-8": ("csv_invalid", b"a,label\n1,x\n" * 900 + b"2,\xff\n", {"input": ["a"]}),
}


@pytest.mark.parametrize("name", BAD_CSV)
def test_bad_csv_is_refused_by_name(name: str, intake: Any, refused: Callable[..., Any]) -> None:
    code, content, columns = BAD_CSV[name]
    splits = {"validation": 0, "test": 0}
    source = intake.write("bad.csv", content)
    refused(code, lambda: intake.dataset(source, columns=columns, splits=splits))


def test_bad_parquet_is_refused_by_name(
    intake: Any,
    parquet: Callable[..., Path],
    png: Callable[..., bytes],
    refused: Callable[..., Any],
) -> None:
    image = [png(0), png(1)]
    two = {"image": image, "label": [0, 1]}
    refused("labels_missing", lambda: intake.dataset(parquet(two | {"label": [0, None]})))
    refused("column_type", lambda: intake.dataset(parquet(two | {"label": image})))
    refused("column_type", lambda: intake.dataset(parquet(two | {"image": ["a.png", "b.png"]})))
    refused("image_dtype", lambda: intake.dataset(parquet(two | {"image": [[300], [1]]})))
    refused("pixel_count", lambda: intake.dataset(parquet(two | {"image": [[1, 2], [1]]})))
    none = {"validation": 0, "test": 0}
    hole = parquet(two | {"image": [png(0), None]})
    refused("image_broken", lambda: intake.dataset(hole, splits=none))
    part = parquet(two | {"part": ["train", "holdout"]})
    refused("split_unknown", lambda: intake.dataset(part, splits={"column": "part"}))
    cut = parquet(two).read_bytes()[:-9]
    refused("parquet_invalid", lambda: intake.dataset(intake.write("cut", cut)))


def test_damage_that_shows_only_when_images_are_read_is_refused_too(
    intake: Any,
    parquet: Callable[..., Path],
    png: Callable[..., bytes],
) -> None:
    images = [png(seed, (40, 40)) for seed in range(60)]
    whole = parquet({"image": images, "label": [seed % 3 for seed in range(60)]}).read_bytes()
    middle = whole.index(images[30][-40:-20])
    damaged = whole[:middle] + bytes(64) + whole[middle + 64 :]
    source = intake.write("damaged.parquet", damaged)
    with pytest.raises(InputRejected) as caught:
        intake.dataset(source)
    assert caught.value.rejected_code in {"parquet_invalid", "image_broken"}


def test_a_missing_column_names_those_that_are_there(
    intake: Any, parquet: Callable[..., Path], refused: Callable[..., Any]
) -> None:
    source = parquet({"picture": [b"", b""], "label": [0, 1]})
    found = refused("column_missing", lambda: intake.dataset(source))
    assert found.field == "columns.input"
    assert found.extra["allowed"] == ["picture", "label"]
