"""HDF5 files written whole or not at all, also where the disk fills up."""

import io
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from hamlearn.io import atomic_write


class Sink(io.RawIOBase):
    """A file that takes everything, and remembers the first error of the disk.

    HDF5 may crash the process when it closes a file that could not be written, so it is never told;
    whoever writes asks `check`.
    """

    def __init__(self, path: Path) -> None:
        """Make the file."""
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o666)
        self._place = self._end = 0
        self._error: OSError | None = None

    def check(self) -> None:
        """Raise the first error that there was.

        Raises:
            OSError: of the disk.
        """
        if self._error is not None:
            raise self._error

    def write(self, data: Any) -> int:
        """Write all bytes of a buffer, or none that anyone will read."""
        rest = memoryview(data).cast("B")
        size = len(rest)
        try:
            while rest and self._error is None:
                written = os.pwrite(self._file, rest, self._place + size - len(rest))
                rest = rest[written:]
        except OSError as error:
            self._error = error
        self._place += size
        self._end = max(self._end, self._place)
        return size

    def readinto(self, buffer: Any) -> int:
        """Read as many bytes as are asked for; zeros where nothing was written."""
        view = memoryview(buffer).cast("B")
        data = os.pread(self._file, len(view), self._place)
        view[:] = data.ljust(len(view), b"\0")
        self._place += len(view)
        return len(view)

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move to a place."""
        start = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._end}[whence]
        self._place = start + offset
        return self._place

    def tell(self) -> int:
        """Return the place."""
        return self._place

    def truncate(self, size: int | None = None) -> int:
        """Set where the file ends."""
        self._end = self._place if size is None else size
        try:
            if self._error is None:
                os.ftruncate(self._file, self._end)
        except OSError as error:
            self._error = error
        return self._end

    def close(self) -> None:
        """Close the file."""
        if not self.closed:
            os.close(self._file)
        super().close()


@contextmanager
def atomic_hdf5(path: str | Path) -> Iterator[tuple[h5py.File, Sink]]:
    """Yield a fresh HDF5 file that takes its place at `path` when the block ends well.

    Args:
        path: of the finished file.

    Yields:
        The file, and the sink whose `check` says early that the disk is full.

    Raises:
        HamlearnError: the file could not be written.
    """
    with atomic_write(path) as part:
        sink = Sink(part)
        try:
            with h5py.File(sink, "w") as file:
                yield file, sink
            sink.check()
        finally:
            sink.close()


def put_texts(file: h5py.File, name: str, texts: Sequence[str]) -> None:
    """Write a dataset of text, of fixed length and padded: it is read without heaps."""
    coded = [text.encode() for text in texts]
    kind = h5py.string_dtype("utf-8", max(map(len, coded), default=0) or 1)
    file.create_dataset(name, (len(coded),), kind, data=np.array(coded, kind) if coded else None)


def put_attributes(file: h5py.File, attributes: Mapping[str, str | int | bool]) -> None:
    """Attach numbers and text of fixed length to the root of a file, by name."""
    for name, value in sorted(attributes.items()):
        file.attrs[name] = np.bytes_(value.encode()) if isinstance(value, str) else value
