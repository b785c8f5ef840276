"""Rows of numbers out of HDF5 files, read from their place on the disk when they are asked for.

A memory map would cost as little while the file is in memory. Where it is not, a map reads around
each row what the disk likes to read at once, megabytes on some, and throws most of it away; its
pages count as memory of the process; and a disk that fails kills the process. So each row is read,
after the kernel is told of all that are wanted, so that the disk has them in hand at once.
"""

import os
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from hamlearn.errors import HamlearnError

_ADVISED = hasattr(os, "posix_fadvise")  # not on macOS
_NOWAIT = getattr(os, "RWF_NOWAIT", None)  # on Linux alone


class RowReader:
    """Reads rows of the datasets of one HDF5 file, which is kept open for it."""

    def __init__(self, path: str | Path) -> None:
        """Open the file.

        Raises:
            OSError: it cannot be opened.
        """
        self.path = Path(path)
        self._file = self.path.open("rb", buffering=0)
        if _ADVISED:  # the kernel shall read what is asked for, and nothing around it
            os.posix_fadvise(self._file.fileno(), 0, 0, os.POSIX_FADV_RANDOM)

    def rows_of(self, dataset: h5py.Dataset) -> "Rows":
        """Return the rows of a dataset of this file.

        One that is not contiguous is read here and now, since its rows have no place of their own.
        """
        place = dataset.id.get_offset()
        if place is None or dataset.chunks is not None or dataset.size == 0:
            return Rows(self, dataset.shape, dataset.dtype, 0, np.asarray(dataset[()]))
        return Rows(self, dataset.shape, dataset.dtype, place)

    def read(self, pieces: Sequence[tuple[int, memoryview]]) -> None:
        """Fill buffers, each from its own place in the file.

        Raises:
            HamlearnError: the disk fails, or the file ends before a piece does.
        """
        file = self._file.fileno()
        waiting = [piece for piece in pieces if not _is_at_hand(file, *piece)]
        if _ADVISED and len(waiting) > 1:
            for place, buffer in waiting:
                os.posix_fadvise(file, place, len(buffer), os.POSIX_FADV_WILLNEED)
        for place, buffer in waiting:
            end = place + len(buffer)
            while buffer:
                try:
                    count = os.preadv(file, [buffer], end - len(buffer))
                except OSError as error:
                    raise HamlearnError(f"{self.path}: cannot be read: {error}") from error
                if not count:
                    raise HamlearnError(
                        f"{self.path}: ends before byte {end}; was it changed while it was read?"
                    )
                buffer = buffer[count:]

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Rows:
    """The rows of one dataset.

    Attributes:
        shape: of the dataset.
        dtype: of its numbers.
    """

    def __init__(
        self,
        reader: RowReader,
        shape: tuple[int, ...],
        dtype: np.dtype[Any],
        place: int,
        kept: NDArray[Any] | None = None,
    ) -> None:
        """Describe where the rows lie.

        Args:
            reader: of their file.
            shape: of the dataset.
            dtype: of its numbers.
            place: byte at which the first row begins.
            kept: the whole dataset, where it is in memory already.
        """
        self._reader, self.shape, self.dtype = reader, shape, dtype
        self._place, self._kept = place, kept

    def __getitem__(self, wanted: NDArray[np.int64]) -> NDArray[Any]:
        """Return rows by their numbers, in any order, copied.

        Raises:
            HamlearnError: the file cannot be read any more.
            IndexError: there is no row of such a number.
        """
        n = self.shape[0]
        if len(wanted) and not 0 <= wanted.min() <= wanted.max() < n:
            raise IndexError(f"{self._reader.path}: no row {wanted.max()}, expected 0 to {n - 1}")
        if self._kept is not None:
            return np.asarray(self._kept[wanted])
        rows = np.empty((len(wanted), *self.shape[1:]), self.dtype)
        size = rows[:1].nbytes
        if rows.nbytes:
            flat = rows.reshape(-1).view(np.uint8).data
            self._reader.read(
                [
                    (self._place + first * size, flat[start * size : stop * size])
                    for first, start, stop in _runs(wanted)
                ]
            )
        return rows


def _is_at_hand(file: int, place: int, buffer: memoryview) -> bool:
    """Fill a buffer if all of it is in memory already, at the cost of one call; tell if it was."""
    if _NOWAIT is None:
        return False
    try:
        return os.preadv(file, [buffer], place, _NOWAIT) == len(buffer)
    except OSError:  # it is not, or this file system cannot tell
        return False


def _runs(wanted: NDArray[np.int64]) -> list[tuple[int, int, int]]:
    """Return runs of rows that lie side by side: number of the first, and slice of `wanted`."""
    edges = [0, *(np.flatnonzero(np.diff(wanted) != 1) + 1).tolist(), len(wanted)]
    return [(int(wanted[start]), start, stop) for start, stop in pairwise(edges)]
