"""Opening the pictures of tweets: every picture is RGB on white, or a failure with its reason."""

import logging
import struct
import threading
import zlib
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Generic, TypeVar

from PIL import Image, ImageOps

from hamlearn.errors import HamlearnError

# What a tweet's picture can be, whatever its extension says. Formats that run other programs or
# read further files (EPS, for one) are left out on purpose.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")

# What Pillow's decoders raise on broken bytes.
_BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    MemoryError,  # of a picture that claims more than there is
    RecursionError,
    TypeError,
    ArithmeticError,
    AttributeError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
Prepared = TypeVar("Prepared")
_pillow_limit = threading.Lock()
log = logging.getLogger(__name__)


class Status(IntEnum):
    """What became of a picture; the numbers are those of the feature files."""

    OK = 0
    MISSING = 1
    UNDECODABLE = 2
    TOO_LARGE = 3


class PictureError(HamlearnError):
    """A picture that cannot be used.

    Attributes:
        status: which of the failures it is.
        reason: the same in words, without the path.
    """

    def __init__(self, status: Status, reason: str, path: str | Path | None = None) -> None:
        """Keep the reason beside the message, which names the path too."""
        super().__init__(reason if path is None else f"{path}: {reason}")
        self.status = status
        self.reason = reason


@dataclass(frozen=True)
class Decoded(Generic[Prepared]):
    """One picture of a queue.

    Attributes:
        row: its place in the queue.
        size: width and height in pixels, upright; zeros where it failed.
        value: what `prepare` made of it, or the failure.
    """

    row: int
    size: tuple[int, int]
    value: Prepared | PictureError


def open_picture(path: str | Path | None, max_pixels: int = 100_000_000) -> Image.Image:
    """Decode a picture into RGB, upright, with everything transparent on white.

    Args:
        path: the file, or None where the corpus has no picture of that name.
        max_pixels: a picture that says it has more is not decoded.

    Raises:
        PictureError: the picture is missing, too large, or cannot be decoded.
    """
    if path is None:
        raise PictureError(Status.MISSING, "the corpus has no picture of this name")
    path = Path(path)
    try:
        if not path.exists():
            raise PictureError(Status.MISSING, "no such file", path)
        if not path.is_file():
            raise PictureError(Status.UNDECODABLE, "not a file", path)
        if path.stat().st_size == 0:
            raise PictureError(Status.UNDECODABLE, "zero bytes", path)
        with _open_header(path) as image:
            if image.width * image.height > max_pixels:
                raise PictureError(
                    Status.TOO_LARGE,
                    f"{image.width}x{image.height} pixels, expected at most {max_pixels}",
                    path,
                )
            image.load()
            return _on_white(_upright(image, path))
    except PictureError:
        raise
    except Image.DecompressionBombError as error:
        raise PictureError(Status.TOO_LARGE, _said(error), path) from error
    except _BROKEN as error:
        raise PictureError(Status.UNDECODABLE, _said(error), path) from error


def _open_header(path: Path) -> Image.Image:
    """Read the header alone, under our limit of pixels in the place of Pillow's."""
    with _pillow_limit:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(path, formats=FORMATS)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _upright(image: Image.Image, path: Path) -> Image.Image:
    """Apply the rotation that EXIF asks for; broken EXIF asks for none."""
    try:
        return ImageOps.exif_transpose(image)
    except _BROKEN as error:
        log.warning("%s: EXIF is broken and not applied (%s)", path, _said(error))
        return image


def _on_white(image: Image.Image) -> Image.Image:
    """Turn any mode into RGB; what is transparent shows white."""
    if image.mode.startswith("I"):  # 16 bits a pixel: keep the upper 8, where Pillow would clip
        image = image.point(lambda value: value * (1 / 256) + 0).convert("L")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _said(error: Exception) -> str:
    """Return one line of what an exception says; Pillow names the file, we do that ourselves."""
    if isinstance(error, Image.UnidentifiedImageError):
        return "not a picture of a known format"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__
