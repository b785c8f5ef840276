"""Rows of CSV whose quotes may be stray: every line is in one row, or the run ends with an error.

A quote that opens on a line and is not closed on it begins a cell of several lines, as spreadsheets
write them, or is a mistake that makes the lines after it part of a cell. It is a mistake of its
line alone if it is never closed, or if text follows the quote that closes it: the other lines are
then read by themselves. If it is closed, but most of the lines in the cell are rows by themselves,
nobody can tell, and the reading ends.
"""

import csv
import re
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

from hamlearn.errors import HamlearnError

LONGEST = 1_000_000  # characters of a row of several lines
FORMS = 1000  # of ids that are remembered
Line = tuple[int, str | HamlearnError]  # its number, and its text with its end or its fault


class Row(NamedTuple):
    """A row; a blank line has no cells."""

    number: int  # of the line on which it begins
    cells: list[str]  # of a faulty row, those before its first quote
    fault: str | None = None


class CsvRows:
    """Iterates over the rows of a file.

    Args:
        lines: numbered lines with their ends.
        name: of the file, for messages.
        dialect: arguments of `csv.reader`.

    Raises:
        HamlearnError: lines are part of a quoted cell, and rows by themselves.
    """

    def __init__(self, lines: Iterator[Line], name: str, **dialect: Any) -> None:
        self._lines, self._name, self._dialect = lines, name, dialect
        self._again: deque[Line] = deque()  # lines that are read a second time
        self._reread = 0
        self._header: list[str] = []  # the first row
        self._forms: set[str] = set()  # of ids

    def __iter__(self) -> Iterator[Row]:
        while (line := self._next()) is not None:
            number, text = line
            if isinstance(text, HamlearnError):
                yield Row(number, [], str(text))
                continue
            taken = [line]
            try:
                cells = next(csv.reader(self._texts(text, taken), strict=True, **self._dialect))
            except csv.Error as error:
                is_open = len(taken) > 1 or "unexpected end of data" in str(error)
                self._read_again(taken[1:])
                reason = "a quote opens that is not closed" if is_open else str(error)
                before = text.partition('"')[0].split(self._dialect.get("delimiter", ","))
                yield Row(number, before[:-1], f"not a row ({reason})")
                continue
            self._header = self._header or [name.strip() for name in cells]
            if len(self._forms) < FORMS and (form := self._form_of(cells)):
                self._forms.add(form)
            if len(taken) > 1:
                self._check_swallowed(cells, taken)
            yield Row(number, cells)

    def _next(self) -> Line | None:
        return self._again.popleft() if self._again else next(self._lines, None)

    def _texts(self, text: str, taken: list[Line]) -> Iterator[str]:
        """Yield the text of a line and, as long as a quote is open, of those that follow."""
        yield text
        size = len(text)
        while (line := self._next()) is not None:
            size += 0 if isinstance(line[1], HamlearnError) else len(line[1])
            if isinstance(line[1], HamlearnError) or size > LONGEST:
                self._again.appendleft(line)
                return
            taken.append(line)
            yield line[1]

    def _read_again(self, lines: list[Line]) -> None:
        self._again.extendleft(reversed(lines))
        self._reread += len(lines)
        if lines and self._reread > 1_000_000 + 20 * lines[0][0]:
            raise HamlearnError(
                f"{self._name}:{lines[0][0]}: found too many quotes that are not closed before this"
                " line, expected CSV"
            )

    def _check_swallowed(self, cells: list[str], taken: list[Line]) -> None:
        """Check that the lines of a quoted cell are not rows by themselves."""
        swallowed = len(taken) - 1
        rows = [row for _, text in taken[1:] if (row := self._as_row(str(text)))]
        with_id = [row for row in rows if self._form_of(row) in self._forms]
        # A line of a text has as many commas as a row by chance: often one, seldom more.
        commas = swallowed * max(len(self._header) - 1, 0.1)
        many = len(rows) >= 0.9 * swallowed and commas >= 10
        many |= len(with_id) == swallowed and commas >= 3
        any_row = bool(with_id if self._forms else rows)
        if many or (any_row and len(cells) != len(self._header)):
            first, last = taken[0][0], taken[-1][0]
            raise HamlearnError(
                f"{self._name}:{first}: found a quote that opens here, is closed on line {last} and"
                f" swallows {swallowed} lines, of which {len(rows)} are rows by themselves;"
                ' expected it to be closed on its line, or written twice ("") in a text'
            )

    def _as_row(self, text: str) -> list[str] | None:
        """Return the cells of a line that is a row by itself."""
        try:
            cells = next(csv.reader([text], strict=True, **self._dialect))
        except csv.Error:
            return None
        return cells if len(cells) == len(self._header) else None

    def _form_of(self, cells: list[str]) -> str:
        """Return the form of the id of a row: `a0` for `p17`; none without a number in it."""
        place = self._header.index("id") if "id" in self._header else len(cells)
        id_ = cells[place] if place < len(cells) else ""
        form = re.sub(r"\d+", "0", re.sub(r"[^\W\d]+", "a", id_))
        return form if "0" in form else ""
