"""HDF5 files of one simple layout: arrays of numbers and of text, stored contiguously.

Text, in arrays and in attributes, has a fixed length. So every row has its place in the file, and a
file from elsewhere that is damaged or hostile is refused before HDF5 decodes anything of it.
"""

import fcntl
import io
import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from hamlearn.errors import HamlearnError
from hamlearn.io import NO_LOCKS
from hamlearn.outputs import atomic_write

# Of each array, its type, or "text", or "floats" of any precision; and its shape.
Layout = dict[str, tuple[str, tuple[int, ...]]]


class ArrayFile:
    """An HDF5 file open for reading. Text is in memory; rows of numbers are read on demand.

    The file is opened once, so one that replaces it later under the same name is not read.

    The attributes `kind` and `schema_version` must be one of `kinds` and `version`; errors name the
    `command` that makes such a file. Subclasses check their arrays in `_check`.

    Attributes:
        path: of the file.
        attributes: numbers and text attached to the root of the file.
        texts: content of each array of text.
        arrays: rows of each array of numbers.

    Raises:
        HamlearnError: the file is absent, not HDF5, damaged, or has another layout.
    """

    def __init__(self, path: str | Path, kinds: Sequence[str], version: int, command: str) -> None:
        self.path, self._command = Path(path), command
        self._file: BinaryIO | None = None
        if not self.path.is_file():
            raise HamlearnError(f"{path}: no such file; expected one made by `{command}`")
        try:
            self._read(kinds, version)
            self._check()
        except Exception as error:  # h5py raises almost anything on damaged files
            self.close()
            if isinstance(error, HamlearnError):
                raise
            reason = f"{str(error) or type(error).__name__:.300}"
            raise self.error(f"not an HDF5 file, or a damaged one ({reason})") from error

    def error(self, problem: str) -> HamlearnError:
        """Return an error that names the file and the command that makes it again."""
        return HamlearnError(f"{self.path}: {problem}; make it again with `{self._command}`")

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _read(self, kinds: Sequence[str], version: int) -> None:
        self.attributes: dict[str, Any] = {}
        self.texts: dict[str, list[str]] = {}
        self.arrays: dict[str, Rows] = {}
        with _open(self.path) as file:
            self._file = os.fdopen(os.dup(file.id.get_vfd_handle()), "rb", buffering=0)
            with suppress(OSError):  # of a file system without locks
                fcntl.flock(self._file, fcntl.LOCK_UN)  # the copy would keep the lock of HDF5
            size = os.fstat(self._file.fileno()).st_size
            for name in file.attrs:
                attribute = file.attrs.get_id(name)
                if attribute.shape != () or attribute.dtype.kind not in "biufS":
                    raise self.error(
                        f"attribute `{name:.100}` is {attribute.dtype} of shape {attribute.shape},"
                        " expected one number or text of fixed length"
                    )
                value = file.attrs[name].item()
                self.attributes[name] = value.decode() if isinstance(value, bytes) else value
            kind, found = (self.attributes.get(key) for key in ("kind", "schema_version"))
            if kind not in kinds or found != version:
                raise self.error(
                    f"found {kind!r:.40} of layout version {found!s:.20}, expected"
                    f" {' or '.join(kinds)} of version {version}"
                )
            for name in file:
                if problem := _problem(file, name, size):
                    raise self.error(f"`{name:.100}` {problem}")
                dataset = file[name]
                if dataset.dtype.kind == "S":
                    self.texts[name] = [text.decode() for text in dataset[()].ravel().tolist()]
                else:
                    self.arrays[name] = Rows(self._file, self.path, dataset)

    def _check(self) -> None:
        """Raise HamlearnError if the arrays are not those of the layout."""

    def _check_arrays(self, layout: Layout) -> None:
        """Raise HamlearnError unless the file has exactly these arrays."""
        found: Layout = {name: ("text", (len(text),)) for name, text in self.texts.items()}
        for name, rows in self.arrays.items():
            is_any = rows.dtype.kind == "f" and layout.get(name, ("",))[0] == "floats"
            found[name] = ("floats" if is_any else rows.dtype.name, rows.shape)
        for name in layout | found:
            given, expected = (
                "{} of shape {}".format(*arrays[name]) if name in arrays else "absent"
                for arrays in (found, layout)
            )
            if given != expected:
                raise self.error(f"`{name:.100}` is {given}, expected {expected}")


class Rows:
    """The rows of one array of numbers, read from their place in the file on demand.

    A memory map would be shorter, but its pages count as memory of the process, and a failing disk
    would kill the process.
    """

    def __init__(self, file: BinaryIO, path: Path, dataset: h5py.Dataset) -> None:
        self._file, self._path, self._offset = file, path, dataset.id.get_offset() or 0
        self.shape: tuple[int, ...] = dataset.shape
        self.dtype: np.dtype[Any] = dataset.dtype

    def __getitem__(self, indices: Sequence[int] | NDArray[np.integer]) -> NDArray[Any]:
        """Return a copy of the rows with these numbers, in any order.

        Raises:
            HamlearnError: the file cannot be read any more.
            IndexError: a number is out of range.
        """
        wanted = np.asarray(indices, np.int64)
        n = self.shape[0]
        if len(wanted) and not 0 <= wanted.min() <= wanted.max() < n:
            raise IndexError(f"{self._path}: found a row outside 0 to {n - 1}")
        rows = np.empty((len(wanted), *self.shape[1:]), self.dtype)
        if rows.nbytes:
            size, buffer = rows[0].nbytes, rows.reshape(-1).view(np.uint8).data
            # Neighbouring rows are read in one go.
            ends = np.flatnonzero(np.diff(wanted) != 1) + 1
            for start, stop in pairwise([0, *ends.tolist(), len(wanted)]):
                offset = self._offset + int(wanted[start]) * size
                self._fill(buffer[start * size : stop * size], offset)
        return rows

    def _fill(self, buffer: memoryview, offset: int) -> None:
        """Fill a buffer with the bytes that begin at an offset of the file."""
        while buffer:
            try:
                count = os.preadv(self._file.fileno(), [buffer], offset)
            except OSError as error:
                raise HamlearnError(f"{self._path}: cannot be read: {error}") from error
            if not count:
                raise HamlearnError(
                    f"{self._path}: ends at byte {offset}, expected {len(buffer)} more; was it"
                    " changed while it was open?"
                )
            buffer, offset = buffer[count:], offset + count


def _open(path: Path) -> h5py.File:
    try:
        return h5py.File(path, "r", driver="sec2")
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        return h5py.File(path, "r", driver="sec2", locking=False)


def _problem(file: h5py.File, name: str, size: int) -> str:
    """Return why a member of a file of `size` bytes is no array stored in it; "" if it is one."""
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        return "is a link, expected a dataset"
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset) or dataset.shape is None:
        return "is no array, expected a dataset"
    if dataset.dtype.kind not in "iufS":  # text of variable length is of kind O
        return f"holds {dataset.dtype}, expected numbers or text of fixed length"
    properties = dataset.id.get_create_plist()
    if properties.get_layout() != h5py.h5d.CONTIGUOUS or properties.get_external_count():
        return "is chunked or stored in another file, expected contiguous data"
    offset, stored = dataset.id.get_offset(), dataset.id.get_storage_size()
    claimed = math.prod(dataset.shape) * dataset.dtype.itemsize
    if claimed and (offset is None or stored != claimed or offset + claimed > size):
        return f"takes {claimed} bytes, which do not lie within the {size} of the file"
    return ""


class _Sink(io.FileIO):
    """A file that reports every write as successful, and stores the first error of the disk.

    HDF5 may crash the process when it closes a file that it could not write.
    """

    error: OSError | None = None

    def write(self, data: Any) -> int:
        """Write as much of a buffer as the disk takes, and return the size of the buffer."""
        rest = memoryview(data).cast("B")
        size = len(rest)
        try:
            while rest and self.error is None:
                rest = rest[super().write(rest) :]
        except OSError as error:
            self.error = error
        return size

    def truncate(self, size: int | None = None) -> int:
        """Set the size of the file."""
        try:
            return super().truncate(size)
        except OSError as error:
            self.error = self.error or error
            return self.tell() if size is None else size

    def check(self) -> None:
        """Raise the first error of the disk, if there was one."""
        if self.error is not None:
            raise self.error


@contextmanager
def atomic_hdf5(path: str | Path) -> Iterator[tuple[h5py.File, Callable[[], None]]]:
    """Write an HDF5 file that appears at `path` when the block ends without an error.

    Yields the file, and a function to be called now and then that raises OSError if the disk is
    full, which becomes a HamlearnError that names the file.
    """
    with atomic_write(path) as part, _Sink(part, "w+") as sink:
        with h5py.File(sink, "w") as file:
            yield file, sink.check
        sink.check()


def write_texts(file: h5py.File, name: str, texts: Sequence[str]) -> None:
    """Write a dataset of text, padded to a fixed length."""
    encoded = [text.encode() for text in texts]
    dtype = h5py.string_dtype("utf-8", max(map(len, encoded), default=0) or 1)
    data = np.array(encoded, dtype) if encoded else None
    file.create_dataset(name, (len(encoded),), dtype, data=data)


def write_attributes(file: h5py.File, attributes: Mapping[str, str | int | bool]) -> None:
    """Attach numbers and text of fixed length to the root of a file, in order of their names."""
    for name, value in sorted(attributes.items()):
        file.attrs[name] = np.bytes_(value.encode()) if isinstance(value, str) else value
