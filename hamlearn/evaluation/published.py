"""The numbers of the paper's tables, beside which ours are set."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hamlearn.corpus.editions import PUBLISHED
from hamlearn.errors import HamlearnError

TABLES = ("table2", "table3", "table4", "table5", "table6")
_WORDS = ("method", "variant", "modality", "rounds", "detector")


@dataclass(frozen=True)
class PublishedRow:
    """One row of a table.

    Attributes:
        words: what names it, of `method`, `variant`, `modality`, `rounds` and `detector`.
        scores: in percent, by corpus (or by `one_to_other`), then by type or P, R, F1.
    """

    words: Mapping[str, Any]
    scores: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class PublishedTable:
    """One table and where it was printed."""

    source: str
    rows: tuple[PublishedRow, ...]


def published_tables(path: str | Path = PUBLISHED) -> dict[str, PublishedTable]:
    """Return the paper's Tables 2 to 6, by name.

    Raises:
        HamlearnError: the file is absent, or a table of it is not one.
    """
    path = Path(path)
    if not path.is_file():
        raise HamlearnError(f"{path}: no such file, expected the numbers of the paper's tables")
    values = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {name: _table(values.get(name), f"{path}: {name}") for name in TABLES}


def _table(values: Any, place: str) -> PublishedTable:
    if not isinstance(values, dict) or set(values) != {"source", "rows"}:
        raise HamlearnError(f"{place}: expected `source` and `rows`")
    rows = []
    for number, row in enumerate(values["rows"], start=1):
        words = {key: value for key, value in row.items() if key in _WORDS}
        scores = {key: value for key, value in row.items() if key not in _WORDS}
        for corpus, numbers in scores.items():
            if not isinstance(numbers, dict) or not all(
                isinstance(score, int | float) and 0 <= score <= 100 for score in numbers.values()
            ):
                raise HamlearnError(
                    f"{place}: row {number}: {corpus}: found {numbers!r}, expected percents by name"
                )
        rows.append(PublishedRow(words, scores))
    return PublishedTable(str(values["source"]), tuple(rows))
