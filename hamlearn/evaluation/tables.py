"""Tables of scores: as CSV, and in short for the terminal."""

from collections.abc import Collection, Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from hamlearn.errors import HamlearnError
from hamlearn.evaluation.scores import ALL
from hamlearn.io import escape_cell, printable, read_limited, unescape_cell
from hamlearn.outputs import atomic_write

if TYPE_CHECKING:
    from rich.table import Table

SHOWN = (("dev", "lenient"), ("dev", "strict"), ("test", "lenient"), ("test", "strict"))


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


def summary(metrics: pd.DataFrame) -> "Table":
    """Return micro F1 of every corpus, detector and variant, in percent over the seeds."""
    from rich.table import Table  # no other stage needs it
    from rich.text import Text

    table = Table(title="Micro F1, percent: mean ± standard deviation over seeds")
    for name in ("corpus", "detector", "variant"):
        table.add_column(name, overflow="fold")
    for name in ("seeds", *("\n".join(both) for both in SHOWN)):
        table.add_column(name, justify="right", overflow="fold")
    micro = metrics[(metrics["type"] == ALL) & (metrics["cue"] == ALL)]
    micro = micro[(micro["control"] == "none") & (micro["has_picture"] == ALL)]
    for names, runs in micro.groupby(["corpus", "detector", "variant"], sort=False):
        cells = [
            mean_and_deviation(runs[(runs["split"] == split) & (runs["scheme"] == scheme)]["f1"])
            for split, scheme in SHOWN
        ]
        texts = [Text(printable(str(name))) for name in names]  # no markup of rich
        table.add_row(*texts, str(runs["seed"].nunique()), *cells)
    return table


def mean_and_deviation(f1: pd.Series) -> str:
    """Return scores of several seeds in percent, such as `83.12 ± 0.20`, or `83.12` of one seed."""
    if f1.empty:
        return "-"
    mean = f"{100 * f1.mean():.2f}"
    return mean if len(f1) == 1 else f"{mean} ± {100 * f1.std(ddof=1):.2f}"
