"""One encoded image at a time: PNG, JPEG or WebP, one frame, of a sane size.

Pixels are taken as they are stored; an EXIF orientation is not applied.
"""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator

from PIL import Image, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from stillhouse.errors import InputRejected

# Imported for good before the doors close: Pillow loads a decoder when it meets its format.
FORMATS = (
    PngImagePlugin.PngImageFile.format,
    JpegImagePlugin.JpegImageFile.format,
    WebPImagePlugin.WebPImageFile.format,
)
MAX_IMAGE_PIXELS = 25_000_000
GRAY_MODES = frozenset({"1", "L", "LA"})
COLOUR_MODES = frozenset({"P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"})
MAX_NAMED = 5


def open(content: bytes) -> Image.Image:  # noqa: A001  # read as images.open
    """The image of a file, not decoded yet.

    Args:
        content: the whole file.

    Returns:
        The image; `convert` or `load` decodes it.

    Raises:
        InputRejected: `image_too_large`, `image_dtype` or `image_broken`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of size; ours is an error.
        image = Image.open(io.BytesIO(content), formats=FORMATS)
    if image.width * image.height > MAX_IMAGE_PIXELS:
        raise InputRejected(
            "image_too_large",
            f"it has {image.width} x {image.height} pixels, more than {MAX_IMAGE_PIXELS}",
        )
    if image.mode not in GRAY_MODES | COLOUR_MODES:
        raise InputRejected("image_dtype", f"its pixels are {image.mode}; save it with 8 bits")
    if getattr(image, "n_frames", 1) != 1:
        raise InputRejected("image_broken", "it has several frames; save one image a file")
    return image


class Faults:
    """The images that can't be used, so that one refusal names them all (or five of them)."""

    def __init__(self) -> None:
        self._found: list[tuple[str, str, str]] = []

    @contextlib.contextmanager
    def collecting(self, name: str) -> Iterator[None]:
        """Note what goes wrong with the image of this name, and go on."""
        try:
            yield
        except InputRejected as rejected:
            self._found.append((name, rejected.rejected_code, rejected.detail))
        except MemoryError:
            raise
        except Image.DecompressionBombError:
            self._found.append((name, "image_too_large", "it has too many pixels"))
        except Exception:  # noqa: BLE001  # decoders raise whatever they meet in hostile bytes
            self._found.append((name, "image_broken", "it is no whole PNG, JPEG or WebP image"))

    def check(self) -> None:
        """Refuse, if there were any.

        Raises:
            InputRejected: with the code of the first.
        """
        if not self._found:
            return
        _, code, _ = self._found[0]
        named = "; ".join(f"'{name[:200]}': {why}" for name, _, why in self._found[:MAX_NAMED])
        raise InputRejected(
            code,
            f"{len(self._found)} images can't be used: {named}. Repair or remove them.",
            images={"broken": [name[:200] for name, _, _ in self._found[:MAX_NAMED]],
                    "total": len(self._found)},
        )  # fmt: skip
