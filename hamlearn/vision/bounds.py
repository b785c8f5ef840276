"""Bounds on the work that the file of an image can cause besides its pixels.

A small file may hold thousands of passes over the same pixels, millions of empty pieces, or pieces
that overlap. All bounds are far from what encoders write, and independent of the machine.
"""

import io
import re
import struct

from PIL import Image

from hamlearn.errors import HamlearnError

MAX_BYTES = 512_000_000  # of a file, which is read whole
MAX_SCANS = 100  # of a JPEG, as in libtiff; encoders write about ten
MAX_MARKERS = 400  # of a JPEG: tables, scans, and metadata in segments of 64 KB
MAX_STRIPS = 100_000  # of a TIFF, tiles included
MAX_TILE = 2**25  # pixels of a tile of a TIFF, whatever the size of the image
MAX_READS = 1_000_000  # by the decoder: about 4 for a chunk of a PNG, 2 for a run of a BMP
REREAD = 8  # times that the decoder may read the file

_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # except restart markers
_SOI, _EOI, _SOS, _TEM = 0xD8, 0xD9, 0xDA, 0x01
_BARE = (_SOI, _TEM)  # markers without a length
_STRIP_OFFSETS, _TILE_OFFSETS, _TILE_WIDTH, _TILE_HEIGHT = 273, 324, 322, 323


class BoundExceeded(HamlearnError):
    """The file of an image demands more work than is done for one."""


class BoundedFile(io.BytesIO):
    """The bytes of an image's file for a decoder, whose reading is bounded.

    Raises:
        BoundExceeded: here or in `read`.
    """

    def __init__(self, content: bytes) -> None:
        check_bytes(len(content))
        markers = jpeg_markers(content)
        _check("scans", markers.count(_SOS), MAX_SCANS)
        _check("segments", len(markers), MAX_MARKERS)
        _check("strips", tiff_strips(content), MAX_STRIPS)
        super().__init__(content)
        self._reads = MAX_READS
        self._bytes = REREAD * (len(content) + 65_536)  # decoders read blocks of this size

    def read(self, size: int | None = -1, /) -> bytes:
        """Return the next bytes, at most `size`."""
        found = super().read(size)
        self._reads -= 1
        self._bytes -= len(found)
        if min(self._reads, self._bytes) < 0:
            raise BoundExceeded("found too many small or overlapping pieces in the file")
        return found


def check_bytes(size: int) -> None:
    """Raise BoundExceeded for the size of a file that is too large."""
    _check("bytes", size, MAX_BYTES)


def check_tile(image: Image.Image) -> None:
    """Raise BoundExceeded for a TIFF whose tiles are too large, before one is decoded."""
    tags = getattr(image, "tag_v2", {})
    _check("pixels in a tile", tags.get(_TILE_WIDTH, 1) * tags.get(_TILE_HEIGHT, 1), MAX_TILE)


def check_opened(image: Image.Image) -> None:
    """Raise BoundExceeded for the file of an image that Pillow has opened and not decoded yet."""
    file = getattr(image, "fp", None)
    if file is not None and getattr(image, "tile", None):
        position = file.tell()
        file.seek(0)
        BoundedFile(file.read(MAX_BYTES + 1))
        file.seek(position)
        check_tile(image)


def _check(name: str, found: int, most: int) -> None:
    if found > most:
        raise BoundExceeded(f"found more than {most} {name}, expected no more")


def jpeg_markers(content: bytes) -> list[int]:
    """Return the markers of a JPEG's first image, MAX_MARKERS + 1 at most; none of other files."""
    position, found = 0, list[int]()
    while content.startswith(b"\xff\xd8") and (marker := _MARKER.search(content, position)):
        code, position = marker[0][1], marker.end()
        found.append(code)
        if code == _EOI or len(found) > MAX_MARKERS:
            break
        if code not in _BARE:
            position += int.from_bytes(content[position : position + 2], "big")
    return found


def tiff_strips(content: bytes) -> int:
    """Return the number of strips or tiles in the first directory of a TIFF; 0 for other files."""
    order = {b"II": "<", b"MM": ">"}.get(content[:2])
    if order is None:
        return 0
    is_big = b"\x2b" in content[2:4]  # BigTIFF
    offset, count, entry = ("Q", "Q", "HHQ8x") if is_big else ("I", "H", "HHI4x")
    try:
        (start,) = struct.unpack_from(order + offset, content, 8 if is_big else 4)
        (entries,) = struct.unpack_from(order + count, content, start)
    except struct.error:  # which the decoder reports
        return 0
    step, start = struct.calcsize(order + entry), start + struct.calcsize(order + count)
    places = range(start, min(start + step * entries, len(content) - step + 1), step)
    found = (struct.unpack_from(order + entry, content, place) for place in places)
    return max((n for tag, _, n in found if tag in (_STRIP_OFFSETS, _TILE_OFFSETS)), default=0)
