"""The report's tables of scores: ours by split, cue and type, the paper's, and all pairs.

Numbers become text laid out in rows; nothing here knows HTML.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from hamlearn.corpus.labels import SCHEMES
from hamlearn.evaluation.compare import COLUMNS as PAIR_COLUMNS
from hamlearn.evaluation.evaluate import WITHOUT_IMAGE
from hamlearn.evaluation.means import mean_and_deviation
from hamlearn.evaluation.paper import COLUMNS as PAPER_COLUMNS
from hamlearn.evaluation.paper import OVERALL, TITLES, footnotes, marks_of
from hamlearn.evaluation.readable import ABSENT
from hamlearn.evaluation.scores import ALL
from hamlearn.evaluation.tables import read_table
from hamlearn.report.analysis import confusions
from hamlearn.report.inputs import NO_DETECTOR, TEST, CorpusResults, RunResult, without
from hamlearn.settings import Settings


@dataclass(frozen=True)
class Cell:
    """One number as text, with a second one below it in small print."""

    text: str
    below: str = ""
    rank: int = 0  # 1 for the best of its column, 2 for the second, as they are shown
    share: float | None = None  # 0 to 1, how dark it is shaded


@dataclass(frozen=True)
class Row:
    """One row: its header, and a cell per column."""

    name: str
    cells: tuple[Cell, ...]
    note: str = ""  # in small print next to the header
    kind: str = ""  # "reference" for what is not a result of a run, "total" for a sum


@dataclass(frozen=True)
class Table:
    """A table with its caption."""

    caption: str  # what it shows, in which scheme, and of how many
    corner: str  # header of the column of row headers
    columns: tuple[str, ...]  # headers of the other columns
    rows: tuple[Row, ...]
    groups: tuple[tuple[str, int], ...] = ()  # headers above columns, with the number they span
    words: bool = False  # whether the cells are words and not numbers
    notes: tuple[str, ...] = ()  # footnotes, which rows name by their numbers from 1


def cells(values: Sequence[object]) -> tuple[Cell, ...]:
    """Return a cell for each value."""
    return tuple(Cell(str(value)) for value in values)


def ranked(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Return rows of scores with the ranks and shades of their cells, column by column.

    Rows of a kind are left alone. Numbers that are shown alike have the same rank.
    """
    scored = [row for row in rows if not row.kind]
    columns = []
    for column in zip(*(row.cells for row in scored), strict=True):
        known = [_first_number(cell.text) for cell in column]
        values = sorted({one for one in known if one is not None}, reverse=True)
        span = values[0] - values[-1] if values else 0
        columns.append(
            [
                cell
                if one is None or not span
                else replace(
                    cell,
                    rank=values.index(one) + 1 if one in values[:2] else 0,
                    share=(one - values[-1]) / span,
                )
                for cell, one in zip(column, known, strict=True)
            ]
        )
    marked = iter(zip(*columns, strict=True))
    return tuple(row if row.kind else replace(row, cells=tuple(next(marked))) for row in rows)


def _first_number(text: str) -> float | None:
    try:
        return float(text.split(" ")[0].replace(",", ""))
    except ValueError:
        return None


def signed(value: float, places: int = 2) -> str:
    """Return a number with a sign and a true minus; one that rounds to 0 has no sign."""
    text = f"{value:+.{places}f}"
    return text[1:] if float(text) == 0 else text.replace("-", "\N{MINUS SIGN}")


def select(scores: pd.DataFrame, **values: str) -> pd.DataFrame:
    """Return the rows with these values in these columns."""
    for column, value in values.items():
        scores = scores[scores[column] == value]
    return scores


def headline(corpus: CorpusResults, split: str) -> Table | None:
    """Return micro precision, recall and F1 in both schemes; None where the split has no scores."""
    micro = select(corpus.scores, split=split, type=ALL, cue=ALL)
    if micro.empty:
        return None

    def numbers(runs: pd.DataFrame) -> tuple[Cell, ...]:
        of_scheme = [select(runs, scheme=scheme) for scheme in SCHEMES]
        return cells(
            [mean_and_deviation(some[name]) for some in of_scheme for name in OVERALL.values()]
        )

    posts = sum(post.split == split for post in corpus.scored)
    return Table(
        caption=f"The {split} split, micro over types, in percent{_over_seeds(corpus)}."
        f" n = {posts} posts with {_support(micro)} entities.",
        corner="Variant",
        columns=tuple(OVERALL) * 2,
        rows=ranked(_by_variant(micro, numbers)),
        groups=tuple((scheme, len(OVERALL)) for scheme in SCHEMES),
    )


def by_cue(corpus: CorpusResults) -> Table | None:
    """Return test F1 by cue, with the text ceiling; None for a corpus without cues."""
    micro, cues = select(corpus.scores, split=TEST, type=ALL), (ALL, *corpus.cues)
    if micro.empty or len(cues) == 1:
        return None
    rows = _in_both(micro, "cue", cues)
    caption = _in_both_caption(corpus, "what decides the entity's type")
    if corpus.ceiling:
        known = map(corpus.ceiling.get, cues)
        ceiling = cells([ABSENT if f1 is None else f"{100 * f1:.2f}" for f1 in known])
        rows.insert(-1, Row("text ceiling", ceiling, "stated by the generator", "reference"))
        caption += (
            " Text ceiling: the best F1 that words alone can be expected to reach, computed from"
            " the probabilities the corpus was drawn with."
        )
    return Table(caption, "Variant", cues, ranked(rows))


def by_type(corpus: CorpusResults) -> Table | None:
    """Return test F1 by entity type; None where the test split has no scores."""
    scores = select(corpus.scores, split=TEST, cue=ALL)
    if scores.empty:
        return None
    order = list(corpus.statistics["type"])
    types = {str(name) for name in scores["type"]} - {ALL}
    ordered = sorted(types, key=lambda name: (name not in order, (*order, name).index(name), name))
    columns = (*ordered, ALL)
    rows = ranked(_in_both(scores, "type", columns))
    return Table(_in_both_caption(corpus, "entity type"), "Variant", columns, rows)


def confusion_table(corpus: CorpusResults, run: RunResult) -> Table | None:
    """Return how often each gold type was predicted as which; None without test entities."""
    counts = confusions(corpus.test, run.labels)
    if not counts:
        return None
    types = sorted({name for pair in counts for name in pair if name is not None})
    columns: list[str | None] = [*types, None]
    rows = []
    for name in types:
        of_row = [counts[name, column] for column in columns]
        shades = [Cell(f"{one:,}", share=one / (sum(of_row) or 1)) for one in of_row]
        rows.append(Row(name, tuple(shades)))
    spurious = [f"{counts[None, name]:,}" for name in types]
    rows.append(Row("no entity", cells([*spurious, ""]), kind="reference"))
    return Table(
        caption=f"Confusions of types on test by {corpus.name_of(run)}: gold in rows, predicted in"
        " columns. A gold entity with other borders than the predicted one counts as missed, and"
        " the prediction as one where there is no entity.",
        corner="Gold",
        columns=(*types, "missed"),
        rows=tuple(rows),
    )


def paper_tables(settings: Settings, results: Path) -> list[Table]:
    """Return the tables of the paper requested by the settings, one per corpus."""
    tables = []
    for name in settings.experiments.tables:
        path = results / "report" / "tables" / f"{name}.csv"
        texts = [*PAPER_COLUMNS[:7], "differs", "incomparable"]
        table = read_table(path, PAPER_COLUMNS, texts, "hamlearn paper table")
        for corpus, rows in table.groupby("corpus", sort=False):
            tables.append(_paper_table(name, str(corpus), rows))
    return tables


def _paper_table(name: str, corpus: str, table: pd.DataFrame) -> Table:
    """Return one corpus of a table: ours, and below it the paper's and the difference."""
    measures = list(dict.fromkeys(table["measure"]))
    counts = name == "table1"
    places = 0 if counts else 2
    numbers = footnotes(table)
    rows = []
    for label, of_row in table[table["scheme"] != "strict"].groupby("row", sort=False):
        ours = of_row.set_index("measure").to_dict("index")
        seeds = int(of_row["seeds"].fillna(0).max())
        note = {0: "published only", 1: "one seed"}.get(seeds, f"{seeds} seeds")
        note += "".join(f" [{number}]" for number in marks_of(of_row, numbers))
        row = tuple(_paper_cell(ours[measure], places) for measure in measures)
        kind = "" if seeds or counts else "reference"
        rows.append(Row(str(label), row, "" if counts else note, kind))
    what = "counts" if counts else "percent on test, lenient, mean ± standard deviation over seeds"
    if table["published"].notna().any():
        what += "; in small print the paper's number, and ours minus that"
    caption = f"{TITLES[name]}. {corpus}: {what}."
    return Table(caption, "", tuple(measures), tuple(rows), notes=tuple(numbers))


def _paper_cell(values: Mapping[Any, Any], places: int) -> Cell:
    text = ABSENT if pd.isna(values["mean"]) else f"{values['mean']:.{places}f}"
    if not pd.isna(values["sd"]):
        text += f" ± {values['sd']:.{places}f}"
    if pd.isna(values["published"]):
        return Cell(text)
    below = f"{values['published']:.{places}f}"
    if not pd.isna(values["difference"]):
        below += f", {signed(values['difference'], places)}"
    return Cell(text, below)


def pair_tables(
    settings: Settings, results: Path, left_out: Collection[tuple[str, str, str]] = ()
) -> dict[str, Table]:
    """Return every pair of systems by corpus, the smallest p first; empty if not requested.

    `left_out` has corpus, detector and variant of runs that are not shown.
    """
    if not settings.experiments.tables:
        return {}
    path = results / "report" / "tables" / "pairs.csv"
    pairs = read_table(path, PAIR_COLUMNS, PAIR_COLUMNS[:6], "hamlearn paper pairs")
    pairs = select(pairs, has_picture=ALL)
    for names in (["corpus", "detector", "variant"], ["corpus", "other_detector", "other"]):
        pairs = without(pairs, left_out, names)
    tables = {}
    for corpus, of_corpus in pairs.groupby("corpus", sort=False):
        rows = []
        for pair in of_corpus.sort_values(["p", "difference"], kind="stable").to_dict("records"):
            detectors = dict.fromkeys((pair["detector"], pair["other_detector"]))
            values = (
                signed(pair["difference"]),
                f"{signed(pair['low'])} to {signed(pair['high'])}",
                _p_text(pair["p"]),
                int(pair["seeds"]),
                f"{int(pair['posts']):,}",
            )
            note = ", ".join(name for name in detectors if name != NO_DETECTOR)
            rows.append(Row(f"{pair['other']} against {pair['variant']}", cells(values), note))
        tables[str(corpus)] = Table(
            caption=f"Every pair of systems on {corpus}: the difference of lenient F1 on test in"
            " points, its 99 % interval over posts and seeds, and p. With one seed, the interval"
            " is over posts alone, and nothing follows for the systems: there is no p. There are"
            f" {len(rows)} pairs; of pairs that do not differ, up to one in twenty has p < 0.05.",
            corner="Pair",
            columns=("Difference", "Interval", "p", "Seeds", "n, posts"),
            rows=tuple(rows),
        )
    return tables


def _p_text(p: float) -> str:
    if pd.isna(p):  # one seed
        return ABSENT
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def detector_note(detector: str, reads_images: bool) -> str:
    """Return which part of the picture a run reads: a detector's objects, all of it, or none."""
    if detector != NO_DETECTOR:
        return detector
    return "whole picture" if reads_images else "no pictures"


def _by_variant(
    scores: pd.DataFrame, numbers: Callable[[pd.DataFrame], tuple[Cell, ...]]
) -> tuple[Row, ...]:
    rows = []
    for (detector, variant), runs in scores.groupby(["detector", "variant"], sort=False):
        note = detector_note(str(detector), bool(runs[WITHOUT_IMAGE].notna().any()))
        rows.append(Row(str(variant), numbers(runs), note))
    return tuple(rows)


def _in_both(scores: pd.DataFrame, column: str, names: Sequence[str]) -> list[Row]:
    """Return a row per variant with F1 by the values of a column, and a row of gold entities."""

    def numbers(runs: pd.DataFrame) -> tuple[Cell, ...]:
        found = []
        for name in names:
            some = select(runs, **{column: name})
            both = (mean_and_deviation(select(some, scheme=scheme)["f1"]) for scheme in SCHEMES)
            text, below = (ABSENT if one == "-" else one for one in both)
            found.append(Cell(text, below))
        return tuple(found)

    support = cells([_support(select(scores, **{column: name})) for name in names])
    return [*_by_variant(scores, numbers), Row("n", support, "gold entities", "reference")]


def _in_both_caption(corpus: CorpusResults, by: str) -> str:
    return (
        f"F1 on test by {by}, in percent{_over_seeds(corpus)}: lenient, and strict in small print"
        " below it; n is the number of gold entities."
    )


def _support(scores: pd.DataFrame) -> str:
    """Return the gold entities in the lenient scheme, and in the strict one where it differs."""
    both = [select(scores, scheme=scheme)["support"] for scheme in SCHEMES]
    found = [str(int(support.iloc[0])) for support in both if not support.empty]
    if len(set(found)) == 2:
        return f"{found[0]} (strict {found[1]})"
    return found[0] if found else ABSENT


def _over_seeds(corpus: CorpusResults) -> str:
    seeds = corpus.scores.groupby(["detector", "variant"], sort=False)["seed"].nunique()
    low, high = int(seeds.min()), int(seeds.max())
    if high == 1:
        return ", of one seed"
    return f", mean ± standard deviation over {low if low == high else f'{low} to {high}'} seeds"
