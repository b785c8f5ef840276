"""A table of the paper as files: CSV in long form, and Markdown to read."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from hamlearn.evaluation.paper import TITLES
from hamlearn.io import atomic_write

ABSENT = "–"  # noqa: RUF001


def write_table(frame: pd.DataFrame, csv: str | Path, markdown: str | Path) -> None:
    """Write a table in both forms, each whole or not at all."""
    with atomic_write(csv) as part:
        frame.to_csv(part, index=False, float_format="%.4f", lineterminator="\n")
    with atomic_write(markdown) as part:
        part.write_text(as_markdown(frame), encoding="utf-8")


def as_markdown(frame: pd.DataFrame) -> str:
    """Return a table in long form as Markdown: one table a corpus, ours above the paper's.

    Args:
        frame: in the columns of hamlearn.evaluation.paper.COLUMNS.
    """
    title = TITLES[str(frame["table"].iloc[0])] if len(frame) else "Nothing was run for this table"
    lines = [f"# {title}", ""]
    if len(frame) and title != TITLES["table1"]:
        lines += [
            "Percent on the test split; ours are means over seeds, ± the standard deviation of "
            "several. The difference is of lenient scores, ours less the paper's.",
            "",
        ]
    for corpus in dict.fromkeys(frame["corpus"]):
        of_corpus = frame[frame["corpus"] == corpus]
        measures = list(dict.fromkeys(of_corpus["measure"]))
        lines += [
            f"## {corpus}",
            "",
            _row(["", "", *measures]),
            _row(["---"] * (2 + len(measures))),
        ]
        for label in dict.fromkeys(of_corpus["row"]):
            for number, (kind, cells) in enumerate(_lines(of_corpus, label, measures)):
                lines.append(_row([_plain(label) if number == 0 else "", kind, *cells]))
        lines.append("")
    return "\n".join(lines).rstrip("\n") + "\n"


def _lines(frame: pd.DataFrame, label: str, measures: list[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield the lines of one row: ours in each scheme, the paper's, and the difference."""
    of_row = frame[frame["row"] == label]
    for scheme in dict.fromkeys(of_row["scheme"]):
        cells = of_row[of_row["scheme"] == scheme].set_index("measure")
        counts = not scheme  # Table 1
        places = 0 if counts else 2
        if cells["mean"].notna().any():
            ours = [_ours(cells.loc[name], places) for name in measures]
            yield ("ours" if counts else f"ours, {scheme}{_seeds(cells)}"), ours
        if cells["published"].notna().any():
            yield "paper", [_number(cells.loc[name, "published"], places) for name in measures]
        if cells["difference"].notna().any():
            gaps = [_number(cells.loc[name, "difference"], places, "+") for name in measures]
            yield "difference", gaps


def _seeds(cells: pd.DataFrame) -> str:
    seeds = int(cells["seeds"].max())
    return "" if seeds == 1 else f", {seeds} seeds"


def _ours(cell: "pd.Series[Any]", places: int) -> str:
    mean = _number(cell["mean"], places)
    return mean if pd.isna(cell["sd"]) else f"{mean} ± {cell['sd']:.{places}f}"


def _number(value: Any, places: int, sign: str = "") -> str:
    if pd.isna(value):
        return ABSENT
    text = f"{float(value):{sign}.{places}f}"
    return text.replace("-", "\N{MINUS SIGN}")


def _plain(text: str) -> str:
    """Return text that Markdown does not take for a column's end."""
    return text.replace("|", "\\|")


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
