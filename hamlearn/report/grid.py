"""Systems with several settings: the table and chart of all, and what is shown elsewhere."""

from pathlib import Path

import pandas as pd
from matplotlib.axes import Axes

from hamlearn.evaluation.grid import COLUMNS, shown
from hamlearn.evaluation.tables import read_table
from hamlearn.experiments import has_runs
from hamlearn.report.inputs import NO_DETECTOR
from hamlearn.report.style import COLOURS, TEXT, Figure, draw
from hamlearn.report.tables import Row, Table, cells
from hamlearn.settings import Settings

MANY = 6  # settings of a system above which other tables and figures show the best alone
WIDTH = 4.4  # inches
_PLACE = ["corpus", "detector", "system"]


def read_grid(settings: Settings, results: Path) -> pd.DataFrame:
    """Read the settings of each system, the best on dev first; empty without runs."""
    if not has_runs(settings):
        return pd.DataFrame(columns=list(COLUMNS))
    path = results / "report" / "tables" / "grid.csv"
    return read_table(path, COLUMNS, COLUMNS[:4], "hamlearn grid")


def left_out(grid: pd.DataFrame) -> set[tuple[str, str, str]]:
    """Return corpus, detector and variant of the runs that the table and the chart alone show.

    Of a system with more than MANY settings, those of the configuration and the best on dev are
    shown everywhere.
    """
    counts = grid.groupby(_PLACE)["variant"].transform("size")
    rest = grid[(counts > MANY) & (grid["chosen"] == 0) & (grid["variant"] != grid["system"])]
    return set(rest[["corpus", "detector", "variant"]].itertuples(index=False, name=None))


def notes(grid: pd.DataFrame, corpus: str) -> list[str]:
    """Return which settings of each system with many of them the section of a corpus shows."""
    found = []
    for (_, detector, system), rows in grid[grid["corpus"] == corpus].groupby(_PLACE, sort=False):
        if len(rows) > MANY:
            (best,) = rows[rows["chosen"] == 1]["variant"]
            where = "" if detector == NO_DETECTOR else f", detector {detector},"
            own = "that is, " if best == system else f"{system}, and "
            found.append(
                f"Of {len(rows)} settings of {system}{where} this section shows those of the"
                f" configuration, {own}the best on dev, {best}."
            )
    return found


def grid_tables(grid: pd.DataFrame) -> dict[str, Table]:
    """Return the settings of each system by corpus."""
    tables = {}
    for corpus, of_corpus in grid.groupby("corpus", sort=False):
        rows = [
            Row(
                row["variant"],
                cells([shown(row, "dev"), shown(row, "test"), "chosen" if row["chosen"] else ""]),
                "" if row["detector"] == NO_DETECTOR else row["detector"],
            )
            for row in of_corpus.to_dict("records")
        ]
        tables[str(corpus)] = Table(
            caption=f"The settings of each system on {corpus} by lenient micro F1 on dev, in"
            " percent, mean ± standard deviation over seeds. Dev alone decides what is chosen.",
            corner="Variant",
            columns=("Dev", "Test", ""),
            rows=tuple(rows),
        )
    return tables


def grid_figures(grid: pd.DataFrame) -> dict[str, Figure]:
    """Draw F1 on dev and test of the settings of each system by corpus, in the table's order."""
    return {
        str(corpus): draw(
            f"{corpus}-settings",
            f"Lenient F1 on dev and test of the settings of each system: {corpus}",
            lambda axes, rows=rows: _draw(axes[0], rows),  # type: ignore[misc]
            (WIDTH, 0.9 + 0.19 * len(rows)),
        )
        for corpus, rows in grid.groupby("corpus", sort=False)
    }


def _draw(axes: Axes, rows: pd.DataFrame) -> None:
    places = range(len(rows))
    for split, colour, face in (("test", TEXT, "none"), ("dev", COLOURS[0], COLOURS[0])):
        axes.errorbar(
            rows[f"{split}_f1"],
            places,
            xerr=rows[f"{split}_sd"].fillna(0),
            fmt="o",
            color=colour,
            markerfacecolor=face,
            markersize=4,
            elinewidth=0.8,
            label=split,
        )
    several = rows["detector"].nunique() > 1
    names = [
        f"{row.variant} ({row.detector})" if several else str(row.variant)
        for row in rows.itertuples()
    ]
    axes.set_yticks(list(places), names)
    for tick, is_chosen in zip(axes.get_yticklabels(), rows["chosen"], strict=True):
        tick.set_fontweight("bold" if is_chosen else "normal")
    axes.set_ylim(len(rows) - 0.4, -0.6)
    axes.set_xlabel("lenient F1, percent")
    axes.grid(axis="x")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
