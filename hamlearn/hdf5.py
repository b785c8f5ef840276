"""Reading HDF5 that others wrote: what a file claims is measured before it is believed.

Links that lead out of the file, data kept in other files and datasets without content are refused,
and so is what would take more memory than a file of its size can honestly hold.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from hamlearn.errors import HamlearnError

_LEAST = 1 << 24  # bytes that any file may unpack to
_RATIO = 100  # bytes in memory for each byte of the file, past that
_REFERENCE = 16  # bytes by which a file refers to a text: length, place, number

# What h5py raises on broken files.
_BROKEN = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    NotImplementedError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)


@contextmanager
def reading(path: str | Path) -> Iterator[None]:
    """Turn what h5py raises into our error, which names the file."""
    try:
        yield
    except HamlearnError:
        raise
    except _BROKEN as error:
        said = str(error) or type(error).__name__
        raise HamlearnError(
            f"{path}: not an HDF5 file, or a broken one ({said:.300}); one that was cut short has"
            " to be made again"
        ) from error


@contextmanager
def opened(path: str | Path, expected: str) -> Iterator[h5py.File]:
    """Open a file for reading.

    Raises:
        HamlearnError: it is absent, not HDF5, or found to be broken while it is open.
    """
    if not Path(path).is_file():
        raise HamlearnError(f"{path}: no such file; expected {expected}")
    with reading(path), h5py.File(path, "r") as file:
        yield file


def member(group: h5py.Group, name: str) -> Any:
    """Return a member of a group, None where there is none.

    Raises:
        HamlearnError: it lies elsewhere, or is a dataset that takes more than its file can hold.
    """
    place = f"{group.file.filename}: `{name}`"
    if name not in group:
        return None
    if not isinstance(group.get(name, getlink=True), h5py.HardLink):
        raise HamlearnError(f"{place} is a link to something else, expected the thing itself")
    found = group[name]
    if isinstance(found, h5py.Dataset):
        _measure(place, found)
    return found


def _measure(place: str, data: h5py.Dataset) -> None:
    """Refuse a dataset whose content is not in the file."""
    if data.shape is None:
        raise HamlearnError(f"{place} is empty, expected an array")
    if data.is_virtual or data.external:
        raise HamlearnError(
            f"{place} is kept in another file, expected numbers or text in this one"
        )
    if h5py.check_string_dtype(data.dtype) is None and data.dtype.kind not in "fiu":
        raise HamlearnError(f"{place} holds {data.dtype}, expected numbers or text")
    size = Path(data.file.filename).stat().st_size
    claimed = math.prod(data.shape) * data.dtype.itemsize
    unit = math.prod(data.chunks) * data.dtype.itemsize if data.chunks else 0
    if max(claimed, unit) > max(_LEAST, _RATIO * size):
        raise HamlearnError(f"{place} claims {max(claimed, unit)} bytes in a file of {size}")
    offset = data.id.get_offset()
    if offset is not None and offset + data.id.get_storage_size() > size:
        raise HamlearnError(f"{place} ends past the end of the file; is the file whole?")


def texts(data: h5py.Dataset) -> list[str]:
    """Return a dataset of text, flat.

    Raises:
        HamlearnError: it holds something else, or the same text again and again, so that the whole
            is longer than its file.
    """
    place = f"{data.file.filename}: `{data.name}`"
    kind = h5py.check_string_dtype(data.dtype)
    if kind is None:
        raise HamlearnError(f"{place} is {data.dtype}, expected text")
    if data.size == 0:
        return []
    if kind.length is None and _letters(data) > Path(data.file.filename).stat().st_size:
        raise HamlearnError(f"{place} holds more text than its file, expected each text once")
    values: NDArray[Any] = np.asarray(data.asstr()[()])
    return [str(text) for text in values.ravel()]


def _letters(data: h5py.Dataset) -> int:
    """Return the bytes of all texts together, by what refers to them; 0 where it cannot be told."""
    offset, stored = data.id.get_offset(), data.id.get_storage_size()
    if offset is None or stored != _REFERENCE * data.size:
        if data.size > 10_000:
            raise HamlearnError(f"{data.file.filename}: `{data.name}` is kept in pieces")
        return 0
    references = np.fromfile(data.file.filename, "<u4", stored // 4, offset=offset)
    return int(references[:: _REFERENCE // 4].sum(dtype=np.uint64))
