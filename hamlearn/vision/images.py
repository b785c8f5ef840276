"""Decoding images: each becomes RGB on white, or a failure with its reason.

The reports open images without PyTorch, so it is imported in functions alone.
"""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Generic, TypeVar

from PIL import Image, ImageOps

from hamlearn.errors import HamlearnError

# The formats of images in tweets, whatever their extension says. Formats that run other programs
# or read further files (EPS, for one) are left out on purpose.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")

Item = TypeVar("Item")
Prepared = TypeVar("Prepared")
Result = TypeVar("Result")
_pillow_limit = threading.Lock()
log = logging.getLogger(__name__)


class Status(IntEnum):
    """The outcome of decoding an image, by its number in feature files."""

    OK = 0
    MISSING = 1
    UNDECODABLE = 2
    TOO_LARGE = 3


class ImageError(HamlearnError):
    """An image that cannot be used.

    Attributes:
        status: the kind of failure.
        reason: the failure in words, without the path.
    """

    def __init__(self, status: Status, reason: str, path: str | Path | None = None) -> None:
        super().__init__(reason if path is None else f"{path}: {reason}")
        self.status = status
        self.reason = reason


def open_image(path: str | Path | None, max_pixels: int = 100_000_000) -> Image.Image:
    """Decode an image into RGB, upright, with transparent pixels on white.

    Args:
        path: the file, or None where the corpus has no image of that name.
        max_pixels: an image whose header states more pixels is not decoded.

    Raises:
        ImageError: the image is missing, too large, or cannot be decoded.
    """
    if path is None:
        raise ImageError(Status.MISSING, "the corpus has no picture of this name")
    path = Path(path)
    try:
        if not path.exists():
            raise ImageError(Status.MISSING, "no such file", path)
        if not path.is_file():
            raise ImageError(Status.UNDECODABLE, "not a file", path)
        if path.stat().st_size == 0:
            raise ImageError(Status.UNDECODABLE, "zero bytes", path)
        with _open_header(path) as image:
            if image.width * image.height > max_pixels:
                size = f"{image.width}x{image.height} pixels, expected at most {max_pixels}"
                raise ImageError(Status.TOO_LARGE, size, path)
            image.load()
            return _on_white(_upright(image, path))
    except ImageError:
        raise
    except Image.DecompressionBombError as error:
        raise ImageError(Status.TOO_LARGE, _reason(error), path) from error
    except Exception as error:  # whatever a damaged file makes Pillow raise
        raise ImageError(Status.UNDECODABLE, _reason(error), path) from error


def _open_header(path: Path) -> Image.Image:
    """Read the header alone, with Pillow's own limit of pixels switched off."""
    with _pillow_limit:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            return Image.open(path, formats=FORMATS)
        finally:
            Image.MAX_IMAGE_PIXELS = limit


def _upright(image: Image.Image, path: Path) -> Image.Image:
    """Apply the rotation in the EXIF data; damaged EXIF data is ignored."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception as error:  # whatever damaged data makes Pillow raise
        log.warning("%s: EXIF is broken and not applied (%s)", path, _reason(error))
        return image


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits per pixel: use the upper 8, where Pillow would clip
        image = image.point(lambda value: value * (1 / 256) + 0).convert("L")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _reason(error: Exception) -> str:
    """Return the message of an exception in one line, without the file name."""
    if isinstance(error, Image.UnidentifiedImageError):
        return "not a picture of a known format"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return " ".join(str(error).split()) or type(error).__name__


# --- in threads -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Decoded(Generic[Prepared]):
    """One image of a queue.

    Attributes:
        row: its index in the queue.
        size: width and height in pixels, upright; zeros if it failed.
        value: what `prepare` returned for it, or the failure.
    """

    row: int
    size: tuple[int, int]
    value: Prepared | ImageError


def in_order(
    call: Callable[[Item], Result], items: Iterable[Item], pool: ThreadPoolExecutor, ahead: int
) -> Iterator[Result]:
    """Yield `call(item)` in order of the items, while threads work on at most `ahead` next ones."""
    queue: deque[Future[Result]] = deque()
    try:
        for item in items:
            queue.append(pool.submit(call, item))
            if len(queue) > ahead:
                yield queue.popleft().result()
        while queue:
            yield queue.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)


def decode_images(
    paths: Sequence[str | Path | None],
    prepare: Callable[[Image.Image], Prepared],
    max_pixels: int,
    threads: int,
    ahead: int,
) -> Iterator[Decoded[Prepared]]:
    """Yield images in order, while threads decode the next ones.

    Args:
        paths: one per image; None where there is none.
        prepare: called in the threads with each image in RGB.
        max_pixels: larger images fail.
        threads: number of decoding threads.
        ahead: maximum number of decoded images that wait for the consumer.
    """
    import torch

    def decode(numbered: tuple[int, str | Path | None]) -> Decoded[Prepared]:
        row, path = numbered
        try:
            image = open_image(path, max_pixels)
        except ImageError as error:
            return Decoded(row, (0, 0), error)
        return Decoded(row, image.size, prepare(image))

    # One PyTorch thread in each: more of them would compete with the network's own.
    torch_threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(threads, "decode", torch.set_num_threads, (1,))
    try:
        yield from in_order(decode, enumerate(paths), pool, ahead)
    finally:
        torch.set_num_threads(torch_threads)  # the default of threads that start later


def set_threads(threads: int | None) -> int:
    """Set PyTorch's threads unless None, and return how many threads should decode images."""
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    return max(1, min(torch.get_num_threads(), 8))
