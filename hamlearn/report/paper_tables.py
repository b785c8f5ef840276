"""The paper's tables and the comparison of systems, as the page shows them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from hamlearn.errors import HamlearnError
from hamlearn.evaluation.compare import COLUMNS as PAIR_COLUMNS
from hamlearn.evaluation.paper import COLUMNS, TITLES
from hamlearn.report.tables import ABSENT, Cell, Row, Table
from hamlearn.settings import Settings

FOLDER = Path("report", "tables")
PAIRS = "pairs.csv"


class PaperTables(NamedTuple):
    """What the page shows of the paper's experiments.

    Attributes:
        tables: of the paper, one a corpus.
        pairs: every pair of systems, by corpus.
    """

    tables: Sequence[Table]
    pairs: Mapping[str, Table]


def paper_tables(settings: Settings, results: Path) -> PaperTables | None:
    """Return the tables that the configuration asks for; None where it asks for none.

    Args:
        settings: which tables.
        results: the folder that the workflow writes.

    Raises:
        HamlearnError: a file is absent or malformed.
    """
    if not settings.experiments.tables:
        return None
    folder = results / FOLDER
    tables = []
    for name in settings.experiments.tables:
        frame = _read(folder / f"{name}.csv", COLUMNS)
        tables += [
            _table(name, str(corpus), rows) for corpus, rows in frame.groupby("corpus", sort=False)
        ]
    pairs = _read(folder / PAIRS, PAIR_COLUMNS).groupby("corpus", sort=False)
    return PaperTables(tables, {str(name): _pairs(str(name), rows) for name, rows in pairs})


def _table(name: str, corpus: str, frame: pd.DataFrame) -> Table:
    """Return one corpus of a table: ours, and below it the paper's and the difference."""
    measures = [str(measure) for measure in dict.fromkeys(frame["measure"])]
    counts = name == "table1"
    rows = []
    for label, of_row in frame.groupby("row", sort=False):
        ours = of_row[of_row["scheme"] != "strict"].set_index("measure")
        by_measure = ours.to_dict("index")
        cells = tuple(_cell(by_measure[measure], 0 if counts else 2) for measure in measures)
        seeds = int(ours["seeds"].fillna(0).max())
        note = "" if counts else "published only" if seeds == 0 else _counted(seeds)
        rows.append(Row(str(label), cells, note, "reference" if seeds == 0 and not counts else ""))
    what = "counts" if counts else "percent on test, lenient, mean ± standard deviation over seeds"
    beside = ""
    if frame["published"].notna().any():
        beside = "; in small print what the paper prints, and ours less that"
    return Table(
        caption=f"{TITLES[name]}. {corpus}: {what}{beside}.",
        corner="",
        columns=tuple(measures),
        rows=tuple(rows),
    )


def _cell(values: Mapping[Any, Any], places: int) -> Cell:
    text = ABSENT if pd.isna(values["mean"]) else f"{values['mean']:.{places}f}"
    if not pd.isna(values["sd"]):
        text += f" ± {values['sd']:.{places}f}"
    if pd.isna(values["published"]):
        return Cell(text)
    below = f"{values['published']:.{places}f}"
    if not pd.isna(values["difference"]):
        below += f", {_signed(values['difference'], places)}"
    return Cell(text, below)


def _pairs(corpus: str, frame: pd.DataFrame) -> Table:
    """Return every pair of systems of a corpus, the surest differences first."""
    ordered = frame.sort_values(["p", "difference"], kind="stable")
    rows = [
        Row(
            f"{row['other']} against {row['variant']}",
            (
                Cell(_signed(row["difference"], 2)),
                Cell(f"{_signed(row['low'], 2)} to {_signed(row['high'], 2)}"),
                Cell("< 0.001" if row["p"] < 0.001 else f"{row['p']:.3f}"),
                Cell(str(int(row["seeds"]))),
                Cell(f"{int(row['posts']):,}"),
            ),
            _detectors(row["detector"], row["other_detector"]),
        )
        for row in ordered.to_dict("records")
    ]
    return Table(
        caption=f"Every pair of systems on {corpus}: the difference of lenient F1 on test in"
        " points, its 99 % bootstrap interval over posts and seeds, and the p of a paired"
        f" randomisation over posts. There are {len(rows)} pairs, and of pairs that do not differ"
        " one in twenty has p < 0.05.",
        corner="Pair",
        columns=("Difference", "Interval", "p", "Seeds", "n, posts"),
        rows=tuple(rows),
    )


def _detectors(one: str, other: str) -> str:
    names = [name for name in dict.fromkeys((one, other)) if name != "none"]
    return ", ".join(names)


def _signed(value: float, places: int) -> str:
    text = f"{value:+.{places}f}"
    if float(text) == 0:
        return text[1:]
    return text.replace("-", "\N{MINUS SIGN}")


def _counted(seeds: int) -> str:
    return "one seed" if seeds == 1 else f"{seeds} seeds"


def _read(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    if not path.is_file():
        raise HamlearnError(f"{path}: no such file; the report needs it")
    frame = pd.read_csv(path, keep_default_na=False, na_values={"mean": "", "sd": ""})
    if tuple(frame.columns) != tuple(columns):
        raise HamlearnError(f"{path}: expected the columns {', '.join(columns)}")
    numeric = ["seeds", "mean", "sd", "published", "difference", "low", "high", "p", "posts"]
    for name in set(numeric) & set(columns):
        frame[name] = pd.to_numeric(frame[name])
    return frame
