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

HEAD = 512  # bytes that `file_kind` reads
_MEDIA = {  # by the brand of an ISO media file
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"mif1", b"msf1"), "HEIC"),
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
    b"qt  ": "QuickTime",
}
_SIGNATURES: dict[str, bytes | tuple[bytes, ...]] = {
    **{"a damaged JPEG": b"\xff\xd8\xff", "a damaged PNG": b"\x89PNG", "a damaged GIF": b"GIF8"},
    **{"a damaged TIFF": (b"II*\0", b"MM\0*"), "a damaged BMP": b"BM"},
    **{"JPEG XL": (b"\xff\x0a", b"\0\0\0\x0cJXL "), "JPEG 2000": b"\0\0\0\x0cjP  "},
    **{"WebM or Matroska": b"\x1a\x45\xdf\xa3", "a RIFF file that is no WEBP": b"RIFF"},
    **{"an icon": b"\0\0\1\0", "PSD": b"8BPS", "PDF": b"%PDF", "PostScript": b"%!PS"},
    **{"a ZIP archive": b"PK\3\4", "gzip": b"\x1f\x8b", "HDF5": b"\x89HDF"},
    "a pointer of Git LFS": b"version https://git-lfs",
}

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
            raise ImageError(Status.MISSING, _absent(path), path)
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
    except Image.UnidentifiedImageError as error:
        with path.open("rb") as file:
            found = file_kind(file.read(HEAD))
        expected = f"found {found}, expected one of {', '.join(FORMATS)}"
        raise ImageError(Status.UNDECODABLE, expected, path) from error
    except Exception as error:  # whatever a damaged file makes Pillow raise
        raise ImageError(Status.UNDECODABLE, _reason(error), path) from error


def _absent(path: Path) -> str:
    is_url = not {"http:", "https:"}.isdisjoint(path.parts)
    return "found a URL, expected the name of a file" if is_url else "no such file"


def file_kind(head: bytes) -> str:
    """Return in words what a file is, by its first HEAD bytes: for messages on unknown images."""
    if not head.strip(b"\0"):
        return "zero bytes alone" if head else "an empty file"
    if head[4:8] == b"ftyp":
        return _MEDIA.get(head[8:12], "MP4")
    for kind, signatures in _SIGNATURES.items():
        if head.startswith(signatures):
            return kind
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<body")):
        return "HTML"
    if b"<svg" in text:
        return "SVG"
    if text.startswith(b"<"):
        return "XML"
    if b"\0" not in head:
        try:
            # The last bytes may be the beginning of a character.
            start = head.decode("utf-8", "strict" if len(head) < HEAD else "ignore")
            return f"text that begins {start[:40]!r}"
        except UnicodeDecodeError:
            pass
    return f"an unknown format that begins {head[:8].hex(' ')}"


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
