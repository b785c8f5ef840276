"""Decoding images: each becomes RGB on white, or a failure with its reason.

The reports open images without PyTorch, so it is imported in functions alone.
"""

import logging
import os
import re
import threading
import warnings
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any, Generic, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image

from hamlearn.errors import HamlearnError
from hamlearn.vision.bounds import (
    MAX_BYTES,
    BoundedFile,
    BoundExceeded,
    check_bytes,
    check_opened,
    check_tile,
)
from hamlearn.vision.file_kinds import HEAD, file_kind

# The formats of images in tweets, whatever their extension says. Formats that run other programs
# or read further files (EPS, for one) are left out on purpose.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")

_PHOTOMETRIC, _WHITE_IS_ZERO = 262, 0  # a tag of TIFF and one of its values
_UPRIGHT = {  # what turns an image upright, by its EXIF orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

ImageInput: TypeAlias = str | Path | bytes | Image.Image | NDArray[Any]
Item = TypeVar("Item")
Prepared = TypeVar("Prepared")
Result = TypeVar("Result")
warnings.filterwarnings("ignore", module=r"PIL\.")  # thousands for one damaged file
_pillow_limit = threading.Lock()
_CPU_ALLOCATION = re.compile("DefaultCPUAllocator|std::bad_alloc")  # in PyTorch's messages
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


@contextmanager
def memory_checked() -> Iterator[None]:
    """Turn the error of an image that needs more memory than there is into ImageError."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not _CPU_ALLOCATION.search(str(error)):
            raise
        raise ImageError(Status.TOO_LARGE, "there is too little memory for it") from error


def open_image(source: ImageInput | None, max_pixels: int = 100_000_000) -> Image.Image:
    """Return an image in RGB, upright, with transparent pixels on white.

    The same content gives the same pixels, whatever it comes in:

    - the path of a file, or its bytes, in one of FORMATS; of several frames, the first;
    - an image of Pillow, in any mode; of several frames, the current one. The EXIF orientation
      that it carries is applied;
    - an array (H, W), (H, W, 2), (H, W, 3) or (H, W, 4): grey, grey and alpha, RGB, or RGBA. Of
      uint8 as it is, of uint16 the upper 8 bits, of floats in [0, 1] times 255, of bool black and
      white.

    A file of 16 bits or floats is scaled as an array is.

    Args:
        source: the image, or None where the corpus has no image of that name.
        max_pixels: an image whose header states more pixels is not decoded.

    Raises:
        ImageError: the image is missing, too large, or cannot be decoded.
    """
    path = source if isinstance(source, str | Path) else None
    try:
        with memory_checked():
            if isinstance(source, np.ndarray):
                return _on_white(_of_array(source, max_pixels))
            if isinstance(source, Image.Image):
                image = source
                check_opened(image)
            else:
                image = _open(_content(source))
            _check_size(*image.size, max_pixels)
            image.load()
            return _on_white(_upright(image, path))
    except ImageError as error:
        raise ImageError(error.status, error.reason, path) from error
    except (BoundExceeded, Image.DecompressionBombError) as error:
        raise ImageError(Status.TOO_LARGE, _reason(error), path) from error
    except Exception as error:  # whatever a damaged file makes Pillow raise
        raise ImageError(Status.UNDECODABLE, _reason(error), path) from error


def _content(source: object) -> bytes:
    """Return the bytes of an image's file."""
    if source is None:
        raise ImageError(Status.MISSING, "the corpus has no picture of this name")
    if isinstance(source, bytes | bytearray | memoryview):
        content = bytes(source)
    elif isinstance(source, str | Path):
        path = Path(source)
        if not path.exists():
            raise ImageError(Status.MISSING, _absent(path))
        if not path.is_file():
            raise ImageError(Status.UNDECODABLE, "not a file")
        with path.open("rb") as file:
            check_bytes(os.fstat(file.fileno()).st_size)
            content = file.read(MAX_BYTES + 1)
    else:
        expected = "expected a path, bytes, an image of Pillow, or an array"
        raise ImageError(Status.UNDECODABLE, f"found {type(source).__name__}, {expected}")
    if not content:
        raise ImageError(Status.UNDECODABLE, "zero bytes")
    return content


def _of_array(values: NDArray[Any], max_pixels: int) -> Image.Image:
    channels = values.shape[2:]
    if values.ndim not in (2, 3) or channels not in ((), (2,), (3,), (4,)):
        expected = "expected (H, W), (H, W, 2), (H, W, 3) or (H, W, 4)"
        raise ImageError(Status.UNDECODABLE, f"found an array of shape {values.shape}, {expected}")
    _check_size(values.shape[1], values.shape[0], max_pixels)
    return Image.fromarray(_eight_bits(values))


def _check_size(width: int, height: int, max_pixels: int) -> None:
    found = f"{width}x{height} pixels"
    if width * height > max_pixels:
        raise ImageError(Status.TOO_LARGE, f"{found}, expected at most {max_pixels}")
    if width * height == 0:
        raise ImageError(Status.UNDECODABLE, f"{found}, expected at least one")


def _eight_bits(values: NDArray[Any]) -> NDArray[np.uint8]:
    """Return the samples of an image, of any type that `open_image` names, as bytes."""
    dtype = values.dtype
    if dtype == np.uint8:
        return values
    if dtype == np.bool_:
        return values * np.uint8(255)
    if dtype.kind == "u" and dtype.itemsize == 2:
        return (values >> 8).astype(np.uint8)
    if dtype.kind == "f":
        low, high = values.min(), values.max()
        if not (low >= 0 and high <= 1):  # or not a number
            found = f"found samples of {dtype.name} from {low:g} to {high:g}"
            raise ImageError(Status.UNDECODABLE, f"{found}, expected 0 to 1")
        return np.rint(values.astype(np.float32) * 255).astype(np.uint8)
    raise ImageError(
        Status.UNDECODABLE,
        f"found samples of {dtype.name}, expected uint8, uint16, or floats from 0 to 1",
    )


def _absent(path: Path) -> str:
    is_url = not {"http:", "https:"}.isdisjoint(path.parts)
    return "found a URL, expected the name of a file" if is_url else "no such file"


def _open(content: bytes) -> Image.Image:
    """Read the header alone, with Pillow's own limit of pixels switched off."""
    file = BoundedFile(content)
    with _pillow_limit:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            image = Image.open(file, formats=FORMATS)
        except Image.UnidentifiedImageError as error:
            found = f"found {file_kind(content[:HEAD])}, expected one of {', '.join(FORMATS)}"
            raise ImageError(Status.UNDECODABLE, found) from error
        finally:
            Image.MAX_IMAGE_PIXELS = limit
    check_tile(image)
    return image


def _upright(image: Image.Image, path: str | Path | None) -> Image.Image:
    """Apply the rotation in the EXIF data; damaged EXIF data is ignored."""
    try:
        orientation = image.getexif().get(ExifTags.Base.Orientation)
    except (BoundExceeded, MemoryError):
        raise
    except Exception as error:  # whatever damaged data makes Pillow raise
        log.warning("%s: EXIF is broken and not applied (%s)", path or "image", _reason(error))
        return image
    method = _UPRIGHT.get(orientation or 0)
    return image if method is None else image.transpose(method)


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode == "F" or image.mode.startswith("I"):
        image = _grey(image)
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _grey(image: Image.Image) -> Image.Image:
    """Return an image of one deep sample a pixel in 8 bits, which Pillow would clip to."""
    values = np.asarray(image)
    grey = _eight_bits(values)
    if getattr(image, "tag_v2", {}).get(_PHOTOMETRIC) == _WHITE_IS_ZERO:
        grey = 255 - grey
    deep = Image.fromarray(grey)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        deep.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return deep


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
    images: Sequence[ImageInput | None],
    prepare: Callable[[Image.Image, int], Prepared],
    max_pixels: int,
    threads: int,
    ahead: int,
) -> Generator[Decoded[Prepared], None, None]:
    """Yield images in order, while threads decode the next ones.

    Args:
        images: a path or what else `open_image` reads; None where there is none.
        prepare: called in the threads with each image in RGB, and its index in `images`.
        max_pixels: larger images fail.
        threads: number of decoding threads.
        ahead: maximum number of decoded images that wait for the consumer.
    """
    import torch

    def decode(numbered: tuple[int, ImageInput | None]) -> Decoded[Prepared]:
        row, source = numbered
        try:
            image = open_image(source, max_pixels)
            with memory_checked():
                return Decoded(row, image.size, prepare(image, row))
        except ImageError as error:
            return Decoded(row, (0, 0), error)

    # One PyTorch thread in each: more of them would compete with the network's own.
    torch_threads = torch.get_num_threads()
    pool = ThreadPoolExecutor(threads, "decode", torch.set_num_threads, (1,))
    try:
        yield from in_order(decode, enumerate(images), pool, ahead)
    finally:
        torch.set_num_threads(torch_threads)  # the default of threads that start later


def set_threads(threads: int | None) -> int:
    """Set PyTorch's threads unless None, and return how many threads should decode images."""
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    return max(1, min(torch.get_num_threads(), 8))
