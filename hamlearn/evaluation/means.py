"""Scores of every system as means over its seeds: as a table, for reading, and for a terminal."""

import textwrap
from itertools import groupby
from typing import TYPE_CHECKING, Any

import pandas as pd

from hamlearn.evaluation.readable import Part, Readable, Row, with_deviation
from hamlearn.evaluation.scores import ALL
from hamlearn.io import printable

if TYPE_CHECKING:
    from rich.console import Group

PLACE = ("corpus", "detector", "variant")
SHOWN = (("dev", "lenient"), ("dev", "strict"), ("test", "lenient"), ("test", "strict"))
TITLE = "Micro F1 of every system"
ABOUT = "Percent, mean ± standard deviation over seeds; in bold, the best of each corpus."


def systems_table(metrics: pd.DataFrame) -> pd.DataFrame:
    """Return micro F1 of every corpus, detector and variant, in percent over the seeds.

    Returns:
        The columns corpus, detector, variant, seeds, and for each split and scheme of SHOWN the
        mean, such as `test_lenient`, and the sample standard deviation, such as `test_lenient_sd`.
    """
    micro = metrics[(metrics["type"] == ALL) & (metrics["cue"] == ALL)]
    micro = micro[(micro["control"] == "none") & (micro["has_picture"] == ALL)]
    rows = []
    for names, runs in micro.groupby(list(PLACE), sort=False):
        row: dict[str, Any] = dict(zip(PLACE, names, strict=True)) | {
            "seeds": runs["seed"].nunique()
        }
        for split, scheme in SHOWN:
            f1 = 100 * runs[(runs["split"] == split) & (runs["scheme"] == scheme)]["f1"]
            row |= {f"{split}_{scheme}": f1.mean(), f"{split}_{scheme}_sd": f1.std(ddof=1)}
        rows.append(row)
    columns = [f"{split}_{scheme}{sd}" for split, scheme in SHOWN for sd in ("", "_sd")]
    return pd.DataFrame(rows, columns=[*PLACE, "seeds", *columns])


def systems_readable(means: pd.DataFrame) -> Readable:
    """Return what `systems_table` returns for reading, the best of each corpus in bold."""
    scores = [f"{split}_{scheme}" for split, scheme in SHOWN]
    best = means.groupby("corpus")[scores].transform("max")
    rows = []
    for number, row in enumerate(means.to_dict("records")):
        cells = [with_deviation(row[score], row[f"{score}_sd"]) for score in scores]
        bold = [4 + n for n, one in enumerate(scores) if row[one] == best[one].iloc[number]]
        rows.append(Row([*(str(row[name]) for name in (*PLACE, "seeds")), *cells], bold=bold))
    columns = (*PLACE, "seeds", *(f"{split}, {scheme}" for split, scheme in SHOWN))
    return Readable(TITLE, ABOUT, [Part(columns, rows, texts=3)])


def summary(metrics: pd.DataFrame) -> "Group":
    """Return the means for a terminal, a table for each corpus and detector.

    A table has 80 columns at most; a longer name of a variant goes on in the next line.
    """
    from rich.console import Group  # no other stage needs it
    from rich.table import Table
    from rich.text import Text

    tables: list[Text | Table] = []
    (part,) = systems_readable(systems_table(metrics)).parts
    for (corpus, detector), rows in groupby(part.rows, key=lambda row: row.cells[:2]):
        title = Text(printable(f"{corpus}, detector {detector}"))  # no markup of rich in names
        table = Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0))
        table.add_column("variant", width=18, overflow="fold")
        for name in part.columns[3:]:
            table.add_column(name.replace(", ", "\n"), justify="right", overflow="fold")
        for row in rows:
            variant, *cells = row.cells[2:]
            lines = textwrap.wrap(printable(variant), 18, subsequent_indent="  ")
            table.add_row(Text("\n".join(lines)), *cells)
        tables += [Text(), table]
    return Group(f"{TITLE}, percent: mean ± standard deviation over seeds", *tables)


def mean_and_deviation(f1: pd.Series) -> str:
    """Return the mean of scores of several seeds in percent, with their deviation; "-" of none."""
    return with_deviation(100 * f1.mean(), 100 * f1.std(ddof=1)) if len(f1) else "-"
