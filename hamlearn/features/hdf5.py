"""Reading HDF5 that others wrote: what a file claims is measured before it is believed.

Links that lead out of the file, data kept in other files and datasets without content are refused,
and so is what would take more memory than a file of its size can honestly hold.

Text of variable length lies in heaps of the file. HDF5 2.0 never returns from a heap with a piece
of no size, so heaps are walked here first; those of attributes cannot be, and these must be of
fixed length.
"""

import math
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np
from numpy.typing import NDArray

from hamlearn.errors import HamlearnError

_LEAST = 1 << 24  # bytes that any file may unpack to
_RATIO = 100  # bytes in memory for each byte of the file, past that

# How a file refers to a text of variable length, and what stands before each piece of a heap.
_REFERENCE = np.dtype([("length", "<u4"), ("heap", "<u8"), ("number", "<u4")])
_HEAP = struct.Struct("<4sB3xQ")  # signature, version, size
_PIECE = struct.Struct("<H6xQ")  # number, 0 for free space; size

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


def name_of(item: h5py.Group | h5py.Dataset) -> str:
    """Return the name of the file that holds it, without opening what `item.file` opens."""
    return os.fsdecode(h5py.h5f.get_name(item.id))


def member(group: h5py.Group, name: str) -> Any:
    """Return a member of a group, None where there is none.

    Raises:
        HamlearnError: it lies elsewhere, or is a dataset that takes more than its file can hold.
    """
    place = f"{name_of(group)}: `{name}`"
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
    size = Path(name_of(data)).stat().st_size
    claimed = math.prod(data.shape) * data.dtype.itemsize
    unit = math.prod(data.chunks) * data.dtype.itemsize if data.chunks else 0
    if max(claimed, unit) > max(_LEAST, _RATIO * size):
        raise HamlearnError(f"{place} claims {max(claimed, unit)} bytes in a file of {size}")
    offset = data.id.get_offset()
    if offset is not None and offset + data.id.get_storage_size() > size:
        raise HamlearnError(f"{place} ends past the end of the file; is the file whole?")


def root_attributes(file: h5py.File) -> dict[str, Any]:
    """Return the numbers and texts that are attached to the root of a file.

    Raises:
        HamlearnError: one is text of variable length, an array, or of another type.
    """
    found = {}
    for name in file.attrs:
        about = file.attrs.get_id(name)
        text = h5py.check_string_dtype(about.dtype)
        if about.shape != () or (text is None and about.dtype.kind not in "bfiu"):
            raise HamlearnError(
                f"{name_of(file)}: `{name:.100}` holds {about.dtype} of shape {about.shape},"
                " expected one number or text"
            )
        if text is not None and text.length is None:
            raise HamlearnError(
                f"{name_of(file)}: `{name:.100}` is text of variable length, expected a fixed one;"
                " a file of an older version has to be made again"
            )
        value = file.attrs[name].item()
        found[name] = value.decode() if isinstance(value, bytes) else value
    return found


def texts(data: h5py.Dataset) -> list[str]:
    """Return a dataset of text, flat.

    Raises:
        HamlearnError: it holds something else, or is text of variable length that HDF5 would not
            return from, or the same text again and again, so that the whole is longer than its
            file.
    """
    kind = h5py.check_string_dtype(data.dtype)
    if kind is None:
        raise HamlearnError(f"{name_of(data)}: `{data.name}` is {data.dtype}, expected text")
    if data.size == 0:
        return []
    if kind.length is None:
        _check_heaps(data)
    values: NDArray[Any] = np.asarray(data.asstr()[()])
    return [str(text) for text in values.ravel()]


def _check_heaps(data: h5py.Dataset) -> None:
    """Refuse text of variable length that refers to a broken heap, or to more than its file."""
    place = f"{name_of(data)}: `{data.name}`"
    offset, stored = data.id.get_offset(), data.id.get_storage_size()
    if offset is None or stored != _REFERENCE.itemsize * data.size:
        raise HamlearnError(
            f"{place} is text kept in pieces, expected it contiguous and uncompressed"
        )
    references = np.fromfile(name_of(data), _REFERENCE, data.size, offset=offset)
    with open(name_of(data), "rb") as file:
        size = file.seek(0, os.SEEK_END)
        if references["length"].sum(dtype=np.uint64) > size:
            raise HamlearnError(f"{place} holds more text than its file, expected each text once")
        base = data.file.userblock_size
        for heap in np.unique(references["heap"][references["length"] > 0]).tolist():
            if not _is_sound(file, base + heap, size):
                raise HamlearnError(f"{place} refers to a broken heap at byte {base + heap}")


def _is_sound(file: BinaryIO, start: int, end: int) -> bool:
    """Tell whether the pieces of a heap follow each other to its end."""
    file.seek(min(start, end))
    head = file.read(_HEAP.size)
    if len(head) < _HEAP.size:
        return False
    signature, version, size = _HEAP.unpack(head)
    if signature != b"GCOL" or version != 1 or not _HEAP.size <= size <= end - start:
        return False
    pieces = file.read(size - _HEAP.size)
    at = 0
    while at + _PIECE.size <= len(pieces):
        number, length = _PIECE.unpack_from(pieces, at)
        step = _PIECE.size + length + -length % 8 if number else length
        if not _PIECE.size <= step <= len(pieces) - at:
            return False
        at += step
    return True
