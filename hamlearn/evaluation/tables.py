"""Tables as CSV: written with their texts escaped, and read again."""

from collections.abc import Collection, Sequence
from io import BytesIO
from pathlib import Path

import pandas as pd

from hamlearn.errors import HamlearnError
from hamlearn.io import escape_cell, read_limited, unescape_cell
from hamlearn.outputs import atomic_write


def write_table(path: str | Path, table: pd.DataFrame, decimals: int = 6) -> None:
    """Write a table as CSV, atomically, with its texts escaped by `hamlearn.io.escape_cell`."""
    with atomic_write(path) as part:
        with_cells(table).to_csv(
            part, index=False, float_format=f"%.{decimals}f", lineterminator="\n"
        )


def with_cells(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with its texts escaped for CSV."""
    texts = {
        str(name): [escape_cell(one) if isinstance(one, str) else one for one in table[name]]
        for name in table
        if not pd.api.types.is_numeric_dtype(table[name])
    }
    return table.assign(**{name: pd.Series(x, table.index, object) for name, x in texts.items()})


def read_table(
    path: str | Path, columns: Sequence[str], text: Collection[str] = (), made_by: str = "hamlearn"
) -> pd.DataFrame:
    """Read a CSV table and return the given columns, in this order.

    In the columns `text`, escapes of `hamlearn.io.escape_cell` are undone, and a name that looks
    like a number or is empty stays a name; in any other an empty cell is a missing number.
    `made_by` is the command that makes such a file, for messages.

    Raises:
        HamlearnError: the file is absent, is cut short, is not CSV or lacks a column.
    """
    path = Path(path)
    if not path.is_file():
        raise HamlearnError(f"{path}: no such file, expected a table made by `{made_by}`")
    content = read_limited(path)
    if content and not content.endswith(b"\n"):
        raise HamlearnError(f"{path}: ends within a line, so it is cut short; delete and remake it")
    try:
        table = pd.read_csv(
            BytesIO(content),
            dtype=dict.fromkeys(text, str),
            keep_default_na=False,
            na_values={name: ["", "nan"] for name in columns if name not in text},
        )
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise HamlearnError(f"{path}: not a CSV table ({error})") from error
    if not set(columns) <= set(table.columns):
        found = ", ".join(map(str, table.columns))
        raise HamlearnError(f"{path}: found columns {found}; expected {', '.join(columns)}")
    table = table[list(columns)]
    return table.assign(
        **{name: table[name].map(unescape_cell) for name in columns if name in text}
    )
