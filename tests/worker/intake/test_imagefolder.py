from __future__ import annotations

import functools
import io
import stat
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image


@pytest.fixture
def files(png: Callable[..., bytes]) -> dict[str, bytes]:
    """Two classes of ten images, in an order that is not that of their paths."""
    names = [f"{kind}/{number}.png" for number in range(9, -1, -1) for kind in ("owl", "cat")]
    return {name: png(seed) for seed, name in enumerate(names)}


def pack_tar(files: dict[str, bytes], mode: str = "w") -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode=mode) as tar:  # type: ignore[call-overload]  # a mode from a parameter
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return content.getvalue()


def test_rows_follow_the_bytes_of_their_paths(
    intake: Any, folder_zip: Callable[..., Path], files: dict[str, bytes]
) -> None:
    taken = intake.dataset(folder_zip(files), splits={"validation": 0, "test": 0})
    assert taken.result["classes"] == ["cat", "owl"]
    train = taken.part("train")
    for row, name in enumerate(sorted(files)):
        with Image.open(io.BytesIO(files[name])) as image:
            assert np.array_equal(train["x"][row, ..., 0], np.asarray(image))
        assert train["y"][row] == (0 if name.startswith("cat") else 1)


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_tar_is_the_same_dataset_as_a_zip(
    mode: str, intake: Any, folder_zip: Callable[..., Path], files: dict[str, bytes]
) -> None:
    tar = intake.dataset(intake.write("images.tar", pack_tar(files, mode)))
    assert tar.result["fingerprint"] == intake.dataset(folder_zip(files)).result["fingerprint"]


def test_folders_of_parts_stand_and_a_wrapping_folder_is_ignored(
    intake: Any, folder_zip: Callable[..., Path], files: dict[str, bytes]
) -> None:
    listed = {f"animals/train/{name}": data for name, data in files.items()}
    listed |= {f"animals/test/{name}": data for name, data in list(files.items())[:4]}
    listed["animals/.DS_Store"] = b"litter"
    taken = intake.dataset(folder_zip(listed))
    assert taken.result["rows"]["test"] == 4
    assert taken.part("test")["rows"].tolist() == [20, 21, 22, 23]
    assert taken.result["duplicates"]["across_parts"] == 4


def test_different_sizes_need_an_input_and_are_then_resized(
    intake: Any,
    folder_zip: Callable[..., Path],
    files: dict[str, bytes],
    png: Callable[..., bytes],
    refused: Callable[..., Any],
) -> None:
    source = folder_zip(files | {"owl/large.png": png(99, (8, 6))})
    found = refused("image_sizes_differ", lambda: intake.dataset(source))
    assert "4x4" in found.detail
    assert "8x6" in found.detail
    assert intake.dataset(source, input={"size": [5, 5]}).result["input"]["size"] == [5, 5]


def test_one_colour_image_makes_the_dataset_rgb_unless_gray_is_asked_for(
    intake: Any,
    folder_zip: Callable[..., Path],
    files: dict[str, bytes],
    png: Callable[..., bytes],
) -> None:
    source = folder_zip(files | {"owl/red.png": png(7, mode="RGB")})
    assert intake.dataset(source).part("train")["x"].shape[3] == 3
    asked = intake.dataset(source, input={"size": [4, 4], "channels": "gray"})
    assert asked.part("train")["x"].shape[3] == 1


def test_jpeg_and_webp_are_read(
    intake: Any, folder_zip: Callable[..., Path], png: Callable[..., bytes]
) -> None:
    kinds = {"jpg": "JPEG", "webp": "WEBP", "png": "PNG"}
    listed = {
        f"{name}/{number}.{suffix}": png(number, format=kind)
        for name in "ab"
        for number in range(10)
        for suffix, kind in kinds.items()
    }
    rows = intake.dataset(folder_zip(listed)).result["rows"]
    assert rows == {"train": 42, "validation": 6, "test": 12, "unlabelled": 0}


def test_broken_images_are_named(
    intake: Any,
    folder_zip: Callable[..., Path],
    files: dict[str, bytes],
    refused: Callable[..., Any],
) -> None:
    whole = files["cat/3.png"]
    bad = {"cat/text.png": b"no image", "owl/cut.png": whole[: len(whole) // 2]}
    found = refused("image_broken", lambda: intake.dataset(folder_zip(files | bad)))
    assert "cat/text.png" in found.detail
    found = refused(
        "image_broken", lambda: intake.dataset(folder_zip(files | {"owl/cut.png": whole[:-20]}))
    )
    assert found.extra["images"] == {"broken": ["owl/cut.png"], "total": 1}


def bad_images() -> Iterator[tuple[str, str, bytes]]:
    def save(image: Image.Image, **options: Any) -> bytes:
        content = io.BytesIO()
        image.save(content, **options)
        return content.getvalue()

    gray = Image.new("L", (4, 4))
    yield "a GIF", "image_broken", save(gray, format="GIF")
    yield "16 bits", "image_dtype", save(Image.new("I;16", (4, 4)), format="PNG")
    red = Image.new("RGB", (4, 4), "red")
    blue = [Image.new("RGB", (4, 4), "blue")]
    yield "frames", "image_broken", save(red, format="PNG", save_all=True, append_images=blue)
    yield "36 megapixels", "image_too_large", save(Image.new("1", (6000, 6000)), format="PNG")
    yield "400 megapixels", "image_too_large", save(Image.new("1", (20000, 20000)), format="PNG")
    yield "svg", "image_broken", b"<svg xmlns='http://www.w3.org/2000/svg'><script/></svg>"
    yield "nothing", "image_broken", b""


BAD_IMAGES = {name: (code, content) for name, code, content in bad_images()}


@pytest.mark.parametrize("name", BAD_IMAGES)
def test_an_image_that_is_no_plain_picture_is_refused(
    name: str,
    intake: Any,
    folder_zip: Callable[..., Path],
    files: dict[str, bytes],
    refused: Callable[..., Any],
) -> None:
    code, content = BAD_IMAGES[name]
    refused(code, lambda: intake.dataset(folder_zip(files | {"cat/bad.png": content})))


@pytest.mark.parametrize("name", ["../../evil.png", "/etc/evil.png", "a\\b.png", "cat/./x.png"])
def test_names_that_leave_the_folder_are_refused(
    name: str,
    intake: Any,
    folder_zip: Callable[..., Path],
    files: dict[str, bytes],
    refused: Callable[..., Any],
) -> None:
    listed = files | {name: b"x"}
    for source in (folder_zip(listed), intake.write("images.tar", pack_tar(listed))):
        refused("archive_unsafe", functools.partial(intake.dataset, source))
    assert not (intake.folder.parent / "evil.png").exists()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, b"S"])
def test_links_and_devices_in_a_tar_are_refused(
    kind: bytes, intake: Any, files: dict[str, bytes], refused: Callable[..., Any]
) -> None:
    content = io.BytesIO(pack_tar(files))
    with tarfile.open(fileobj=content, mode="a") as tar:
        member = tarfile.TarInfo("cat/link.png")
        member.type = kind
        member.linkname = "/etc/passwd"
        tar.addfile(member)
    source = intake.write("links.tar", content.getvalue())
    refused("archive_unsafe", lambda: intake.dataset(source))


def test_a_tar_that_is_cut_or_damaged_loses_no_rows_silently(
    intake: Any, files: dict[str, bytes], refused: Callable[..., Any]
) -> None:
    whole = pack_tar(files)
    middle = whole.index(b"cat/4.png")
    damaged = whole[:middle] + b"xxx" + whole[middle + 3 :]
    for content in (whole[:middle], damaged, whole + b"tail"):
        source = intake.write("cut.tar", content)
        refused("archive_invalid", functools.partial(intake.dataset, source))


def test_links_in_a_zip_are_refused(intake: Any, refused: Callable[..., Any]) -> None:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        link = zipfile.ZipInfo("cat/link.png")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc/passwd")
    refused("archive_unsafe", lambda: intake.dataset(intake.write("l.zip", content.getvalue())))


def test_a_tar_with_a_lying_size_is_refused(intake: Any, refused: Callable[..., Any]) -> None:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w", format=tarfile.PAX_FORMAT) as tar:
        member = tarfile.TarInfo("cat/a.png")
        member.pax_headers = {"size": "99999999999"}
        tar.addfile(member)
    source = intake.write("pax.tar", content.getvalue())
    refused("archive_unsafe", lambda: intake.dataset(source))


@pytest.mark.parametrize(
    "extra", ["README.md", "cat/deep/er/1.png", "train/cat/1.png", "holdout/cat/1.png"]
)
def test_files_at_another_depth_are_refused_by_name(
    extra: str,
    intake: Any,
    folder_zip: Callable[..., Path],
    files: dict[str, bytes],
    refused: Callable[..., Any],
) -> None:
    source = folder_zip(files | {extra: b"x"})
    found = refused("imagefolder_layout", lambda: intake.dataset(source))
    assert extra in found.detail


def test_a_gzip_bomb_is_stopped_while_it_grows(intake: Any, refused: Callable[..., Any]) -> None:
    source = intake.write("bomb", pack_tar({"a/zeros": bytes(80 << 20)}, "w:gz"))
    refused("archive_bomb", lambda: intake.dataset(source))


def test_an_empty_archive_is_an_empty_dataset(
    intake: Any, folder_zip: Callable[..., Path], refused: Callable[..., Any]
) -> None:
    refused("dataset_empty", lambda: intake.dataset(folder_zip({})))
