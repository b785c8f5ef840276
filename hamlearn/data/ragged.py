"""Rows of whole numbers of different lengths in one piece of memory."""

from array import array
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


class Ragged:
    """Rows of whole numbers, one behind the other: 4 bytes a number, and 8 a row.

    A list of arrays would take some 120 bytes a row for the arrays themselves.
    """

    def __init__(self) -> None:
        """Begin without rows."""
        self._numbers, self._ends = array("i"), array("q", [0])

    def append(self, row: Sequence[int] | NDArray[np.integer]) -> None:
        """Put a row behind the others."""
        self._numbers.frombytes(np.asarray(row, dtype=np.intc).tobytes())
        self._ends.append(len(self._numbers))

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> NDArray[np.int64]:
        """Return a row by its number, from 0; a copy."""
        return np.array(self._numbers[self._ends[index] : self._ends[index + 1]], dtype=np.int64)

    @property
    def lengths(self) -> "array[int]":
        """The length of each row."""
        return array("i", np.diff(self._ends).astype(np.intc).tobytes())
