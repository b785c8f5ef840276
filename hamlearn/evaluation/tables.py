"""Read and write tables of scores as CSV."""

from collections.abc import Collection, Sequence
from pathlib import Path

import pandas as pd

from hamlearn.errors import HamlearnError
from hamlearn.io import atomic_write, is_truncated


def write_table(path: str | Path, table: pd.DataFrame, decimals: int = 6) -> None:
    """Write a table as CSV, atomically."""
    with atomic_write(path) as part:
        table.to_csv(part, index=False, float_format=f"%.{decimals}f", lineterminator="\n")


def read_table(
    path: str | Path, columns: Sequence[str], text: Collection[str] = (), made_by: str = "hamlearn"
) -> pd.DataFrame:
    """Read a CSV table and return the given columns, in this order.

    Args:
        path: of the file.
        columns: that the table must have; others are dropped.
        text: columns of names. A name that looks like a number or is empty stays a name; in any
            other column an empty cell is a missing number.
        made_by: the command that makes such a file, for messages.

    Raises:
        HamlearnError: the file is absent, is cut short, is not CSV or lacks a column.
    """
    path = Path(path)
    if not path.is_file():
        raise HamlearnError(f"{path}: no such file, expected a table made by `{made_by}`")
    if is_truncated(path):
        raise HamlearnError(f"{path}: ends within a line, so it is cut short; delete and remake it")
    try:
        table = pd.read_csv(
            path,
            dtype=dict.fromkeys(text, str),
            keep_default_na=False,
            na_values={name: ["", "nan"] for name in columns if name not in text},
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise HamlearnError(f"{path}: not a CSV table ({error})") from error
    if not set(columns) <= set(table.columns):
        found = ", ".join(map(str, table.columns))
        raise HamlearnError(f"{path}: found columns {found}; expected {', '.join(columns)}")
    return table[list(columns)]
