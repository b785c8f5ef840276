"""A folder of npz files, one a picture: VinVL's, or our own layout."""

import hashlib
import lzma
import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hamlearn.errors import HamlearnError
from hamlearn.features.precomputed.rows import Row, Summary, Survey, absent, by_image, row_of
from hamlearn.vision.images import ImageError, Status

# The name of the array that holds each part of a row.
OWN = {part: part for part in ("boxes", "features", "scores", "names", "labels", "width", "height")}
VINVL = {
    "boxes": "bounding_boxes",
    "features": "box_features",
    "scores": "scores",
    "names": "objects",
    "width": "image_w",
    "height": "image_h",
}
# What zipfile and numpy raise on broken files, and on headers that claim what is not there.
_BROKEN = (
    ArithmeticError,
    EOFError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OSError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    lzma.LZMAError,
    struct.error,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
_LARGEST = 1 << 28  # bytes of one array of one picture


class NpzFolder:
    """A folder of `ID.npz` or `ID.jpg.npz`, from which only the arrays in use are read."""

    def __init__(self, path: Path, arrays: Mapping[str, str]) -> None:
        """List the folder.

        Args:
            path: of the folder.
            arrays: OWN or VINVL.
        """
        if not path.is_dir():
            raise HamlearnError(f"{path}: no such folder, expected npz files, one a picture")
        self.path = path
        self._arrays = arrays
        files = sorted(file for file in path.iterdir() if file.suffix == ".npz")
        if not files:
            raise HamlearnError(f"{path}: no npz files in it, expected one a picture")
        self._files = by_image(path, ((file.stem, file) for file in files))

    def survey(self) -> Survey:
        """Read class names, and tables of contents, whose checksums make the digest."""
        digest, summary = hashlib.sha256(), Summary(self.path)
        for file in self._files.values():
            digest.update(f"{file.name}\0{file.stat().st_size}\0".encode())
            try:
                with _opened(file) as arrays:
                    for member in arrays.zip.infolist():
                        digest.update(f"{member.filename}\0{member.CRC}\0".encode())
                    self._take(summary, file, arrays)
            except ImageError:
                continue  # it is counted when its picture is asked for
        return summary.survey(digest.hexdigest())

    def read(self, image: str) -> Row:
        """Return one picture."""
        file = self._files.get(image)
        if file is None:
            raise absent(self.path)
        with _opened(file) as arrays:
            held = self._held(file, arrays)
            values = {part: _array(file, arrays, name) for part, name in held.items()}
        return row_of(str(file), values)

    def _take(self, summary: Summary, file: Path, arrays: Any) -> None:
        held = self._held(file, arrays)
        if "names" in held:
            summary.names.update(map(str, _array(file, arrays, held["names"]).ravel()))
        summary.labels |= "labels" in held
        if not summary.width:
            summary.measure(_array(file, arrays, held["features"]).shape)

    def _held(self, file: Path, arrays: Any) -> dict[str, str]:
        """Return the array of each part that the file has."""
        held = {part: name for part, name in self._arrays.items() if name in arrays.files}
        for part in ("boxes", "features"):
            if part not in held:
                raise HamlearnError(
                    f"{file}: no array `{self._arrays[part]}`, it has"
                    f" {', '.join(arrays.files) or 'none'}; is its `format` another?"
                )
        return held


@contextmanager
def _opened(file: Path) -> Iterator[Any]:
    """Open an npz; what is broken about it is the failure of one picture."""
    try:
        if not zipfile.is_zipfile(file):
            raise ImageError(Status.UNDECODABLE, "its features are cut, or not an npz", file)
        with np.load(file, allow_pickle=False) as arrays:
            yield arrays
    except HamlearnError:
        raise
    except _BROKEN as error:
        raise ImageError(Status.UNDECODABLE, f"its features: {error!s:.200}", file) from error


def _array(file: Path, arrays: Any, name: str) -> NDArray[Any]:
    """Read one array whose header claims no more than its file unpacks to."""
    member = f"{name}.npy" if f"{name}.npy" in arrays.zip.namelist() else name
    with arrays.zip.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        read_header = (
            np.lib.format.read_array_header_1_0
            if version == (1, 0)
            else np.lib.format.read_array_header_2_0
        )
        shape, _, kind = read_header(stream)
    if kind.hasobject:
        raise HamlearnError(
            f"{file}: the array `{name}` holds Python objects, which only unpickling reads;"
            " expected numbers or text: save it again with a fixed dtype"
        )
    claimed, held = math.prod(shape) * kind.itemsize, arrays.zip.getinfo(member).file_size
    if not 0 <= claimed <= min(held, _LARGEST):
        raise ImageError(
            Status.UNDECODABLE,
            f"its features: `{name}` claims {claimed} bytes, not {min(held, _LARGEST)} at most",
            file,
        )
    return np.asarray(arrays[name])
