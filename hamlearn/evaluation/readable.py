"""Tables for reading, as Markdown and as LaTeX, beside the CSV that programs read."""

import re
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from hamlearn.evaluation.tables import write_table
from hamlearn.io import markdown, printable
from hamlearn.outputs import TABLE_FORMS, atomic_write, is_special

ABSENT = "\N{EN DASH}"  # a cell without a number
# What pandas leaves as it is in LaTeX. A mark stands between two characters of private use.
_LATEX = {"±": r"$\pm$", "\N{MINUS SIGN}": "$-$", ABSENT: "--", "\ue000": "\\textsuperscript{"}
_LATEX |= {"\ue001": "}", "\N{MULTIPLICATION SIGN}": r"$\times$"}


@dataclass(frozen=True)
class Row:
    """Cells as text, the numbers of the notes on the first one, and which cells are bold."""

    cells: Sequence[str]
    marks: Sequence[int] = ()
    bold: Collection[int] = ()


@dataclass(frozen=True)
class Part:
    """One table: columns, rows, and notes that rows refer to, numbered from 1."""

    columns: Sequence[str]
    rows: Sequence[Row]
    heading: str = ""
    notes: Sequence[str] = ()
    texts: int = 1  # columns from the left that are names; the others are numbers


@dataclass(frozen=True)
class Readable:
    """A title, what the numbers are, and one table or several."""

    title: str
    about: str = ""
    parts: Sequence[Part] = field(default_factory=list)

    def markdown(self) -> str:
        """Return all parts as Markdown."""
        lines = [f"# {self.title}", ""]
        lines += [self.about, ""] if self.about else []
        for part in self.parts:
            lines += [f"## {markdown(part.heading)}", ""] if part.heading else []
            lines += [_line(map(markdown, part.columns)), _line(["---"] * len(part.columns))]
            for row in part.rows:
                cells = [markdown(cell) for cell in row.cells]
                cells = [f"**{one}**" if n in row.bold else one for n, one in enumerate(cells)]
                cells[0] += "".join(f"<sup>{mark}</sup>" for mark in row.marks)
                lines.append(_line(cells))
            lines.append("")
            if part.notes:
                lines += [*(f"{n}. {markdown(one)}" for n, one in enumerate(part.notes, 1)), ""]
        return "\n".join(lines).rstrip("\n") + "\n"

    def latex(self) -> str:
        """Return all parts as LaTeX, each a `table` of booktabs with caption and label."""
        head = [f"% {printable(self.title)}", r"% \usepackage{booktabs}", ""]
        return "\n".join([*head, *(self._latex(number) for number in range(len(self.parts)))])

    def _latex(self, number: int) -> str:
        part = self.parts[number]
        rows = [
            [
                printable(row.cells[0]) + "".join(f"\ue000{mark}\ue001" for mark in row.marks),
                *map(printable, row.cells[1:]),
            ]
            for row in part.rows
        ]
        # Columns by number, since two may have one name.
        style = pd.DataFrame(rows, columns=range(len(part.columns)), dtype=object).style
        style = style.hide(axis="index").format(escape="latex")
        style = style.format_index(escape="latex", axis=1).relabel_index(
            [  # pandas formats these names
                _escaped(printable(name)).replace("{", "{{").replace("}", "}}")
                for name in part.columns
            ],
            axis=1,
        )
        for at, row in enumerate(part.rows):
            for column in row.bold:
                style = style.map(lambda _: "textbf:--rwrap;", subset=(at, column))
        name = re.sub(r"[^a-z0-9]+", "-", f"{self.title} {part.heading}".lower()).strip("-")
        caption = f"{self.title}: {part.heading}" if part.heading else self.title
        text = style.to_latex(
            hrules=True,
            column_format="l" * part.texts + "r" * (len(part.columns) - part.texts),
            caption=_escaped(printable(caption)),
            label=f"tab:{name}",
            position_float="centering",
        )
        if part.notes:
            notes = [f"\ue000{n}\ue001 {_escaped(one)}" for n, one in enumerate(part.notes, 1)]
            end = text.rindex("\\end{table}")
            text = text[:end] + "\n".join([r"\par\footnotesize", *notes, text[end:]])
        for character, command in _LATEX.items():
            text = text.replace(character, command)
        return text


def readable(title: str, table: pd.DataFrame, about: str = "", texts: int = 1) -> Readable:
    """Return a table as it is, its numbers with two decimals and counts whole.

    Args:
        title: of the table.
        table: one row per row; missing numbers become a dash.
        about: what the numbers are.
        texts: the number of columns from the left that are names.
    """
    rows = [Row([_cell(one) for one in values]) for values in table.itertuples(index=False)]
    columns = [str(name).replace("_", " ") for name in table.columns]
    return Readable(title, about, [Part(columns, rows, texts=texts)])


def write_forms(csv: str | Path, table: pd.DataFrame, shown: Readable, decimals: int = 4) -> None:
    """Write a table as CSV, and beside it as Markdown and LaTeX; the CSV appears first.

    A terminal or a pipe gets the CSV alone.
    """
    path = Path(csv)
    texts = () if is_special(path) else (shown.markdown(), shown.latex())
    with ExitStack() as stack:
        for suffix, text in zip(TABLE_FORMS, texts, strict=False):
            part = stack.enter_context(atomic_write(path.with_suffix(suffix)))
            part.write_text(text, encoding="utf-8")
        write_table(path, table, decimals)


def with_deviation(mean: float, deviation: float) -> str:
    """Return percent such as `83.12 ± 0.20`, or `83.12` of one seed, whose deviation is NaN."""
    if pd.isna(mean):
        return ABSENT
    return f"{mean:.2f}" if pd.isna(deviation) else f"{mean:.2f} ± {deviation:.2f}"


def _cell(value: Any) -> str:
    if pd.isna(value) or value == "":
        return ABSENT
    if isinstance(value, float):
        return f"{value:.2f}".replace("-", "\N{MINUS SIGN}")
    return str(value)


def _line(cells: Any) -> str:
    return f"| {' | '.join(cells)} |"


def _escaped(text: str) -> str:
    """Return a text as LaTeX, escaped as pandas escapes cells."""
    shown = pd.DataFrame([[text]]).style.hide(axis="index").hide(axis="columns")
    found: str = shown.format(escape="latex").to_latex()
    return found.split("\n", 1)[1].rsplit("\\\\\n", 1)[0].strip()
