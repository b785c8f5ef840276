"""The paper's tables: our scores next to the published ones, with the difference."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import pandas as pd

from hamlearn.corpus.posts import SPLITS
from hamlearn.corpus.statistics import PAPER_ORDER, PUBLISHED
from hamlearn.errors import HamlearnError
from hamlearn.evaluation.comparable import NETWORKS, Differences, incomparable
from hamlearn.evaluation.evaluate import uncontrolled
from hamlearn.evaluation.readable import ABSENT, Part, Readable
from hamlearn.evaluation.readable import Row as ReadableRow
from hamlearn.evaluation.scores import ALL
from hamlearn.io import read_yaml
from hamlearn.settings import Settings
from hamlearn.systems import ABLATIONS, NO_DETECTOR
from hamlearn.variants import label_of_rounds, variant_of

TITLES = {
    "table1": "Table 1: the corpora, by counts of B- tags",
    "table2": "Table 2: systems compared",
    "table3": "Table 3: ablations",
    "table4": "Table 4: rounds of interaction, L",
    "table5": "Table 5: trained on one corpus, tested on the other",
    "table6": "Table 6: detectors",
}
OVERALL = {"P": "precision", "R": "recall", "F1": "f1"}
COLUMNS = (
    "table", "row", "variant", "detector", "corpus", "scheme", "measure", "seeds", "mean", "sd",
    "published", "difference", "differs", "incomparable",
)  # fmt: skip
ABOUT = (
    "Percent on the test split; ours are means over seeds, ± the standard deviation of several. The"
    " difference is of lenient scores, ours minus the paper's; there is none where a note says why"
    " the two cannot be compared."
)
_KEYS = ("method", "variant", "modality", "rounds", "editions", *NETWORKS)
MODERN = "modern"  # systems of after the paper, which Table 2 has where ours are trained
Published = Mapping[str, Mapping[str, float]]  # percent, by corpus and measure


class PublishedRow(NamedTuple):
    """A row of a published table: its scores, and of _KEYS what names it, and its networks."""

    keys: Mapping[str, Any]
    scores: Published


@dataclass(frozen=True)
class Line:
    """One row of a table, and where its numbers come from."""

    label: str
    variant: str = ""  # whose scores are ours; empty for a system that is only published
    detector: str = ""  # of these scores; empty takes those of the main detector, or of none
    published: Published = field(default_factory=dict)
    differs: str = ""  # what the system has otherwise than its authors
    incomparable: str = ""  # why the difference from `published` would mean nothing
    editions: Mapping[str, str] = field(default_factory=dict)  # by corpus, if not the paper's


def published_tables() -> dict[str, list[PublishedRow]]:
    """Return the rows of the paper's Tables 2 to 6 by name, and those of systems after it."""
    published = read_yaml(PUBLISHED)
    tables: dict[str, list[PublishedRow]] = {}
    for name in [*list(TITLES)[1:], MODERN]:
        tables[name] = []
        for row in published[name]["rows"]:
            networks = {key: published[name][key] for key in NETWORKS if key in published[name]}
            keys = networks | {key: value for key, value in row.items() if key in _KEYS}
            scores = {key: value for key, value in row.items() if key not in _KEYS}
            tables[name].append(PublishedRow(keys, scores))
    return tables


def lines_of(table: str, settings: Settings) -> list[Line]:
    """Return the rows of table2 to table6: the paper's in its order, then further ones of ours.

    Raises:
        HamlearnError: there is no such table.
    """
    tables, experiments = published_tables(), settings.experiments
    if table not in TITLES or table not in tables:
        raise HamlearnError(f"table: found {table!r}, expected one of {', '.join(TITLES)}")
    of_line = partial(_line, settings, read_yaml(PUBLISHED))
    if table == "table4":
        rows = {row.keys["rounds"]: row for row in tables[table]}
        labels = {n: label_of_rounds(settings, n) for n in sorted(experiments.rounds)}
        return [of_line(f"L = {n}", labels[n], rows.get(n)) for n in labels]
    if table == "table6":
        rows = {row.keys["detector"]: row for row in tables[table]}
        detectors = dict.fromkeys([*settings.detector, *experiments.detectors])
        return [of_line(name, "full", rows.get(name), name) for name in detectors]
    ablations = [name for name in settings.variants if name in ABLATIONS]
    trained = {"table2": settings.variants, "table3": ablations, "table5": experiments.transfer}
    lines, later = [], tables[MODERN]
    for row in tables[table]:
        variant = row.keys.get("variant", "")
        if variant in trained[table]:
            lines.append(of_line(row.keys["method"], variant, row))
        elif table == "table2":
            lines.append(Line(row.keys["method"], published=row.scores))
    if table == "table2" and any(row.keys.get("variant") in trained[table] for row in later):
        lines += [
            of_line(row.keys["method"], row.keys["variant"], row)
            if row.keys.get("variant") in trained[table]
            else Line(row.keys["method"], published=row.scores)
            for row in later
        ]
    named = {line.variant for line in lines} | set(ablations if table == "table2" else ())
    return [*lines, *(of_line(name, name) for name in trained[table] if name not in named)]


def _line(
    settings: Settings,
    published: Mapping[str, Any],
    label: str,
    variant: str,
    row: PublishedRow | None = None,
    detector: str = "",
) -> Line:
    """Return a row of ours, beside a published one if there is one."""
    system = variant_of(settings, variant).system
    differences = Differences.of(system, published)
    if row is None:
        return Line(label, variant, detector, differs=differences.text)
    inputs, own = settings.system(system).inputs, detector or settings.detector[0]
    reason = incomparable(settings, inputs, differences, row.keys, own)
    editions = row.keys.get("editions", {})
    return Line(label, variant, detector, row.scores, differences.text, reason, editions)


def scores_table(
    table: str, lines: Sequence[Line], scores: pd.DataFrame, settings: Settings
) -> pd.DataFrame:
    """Return a table in long form: one row per cell, in the columns COLUMNS.

    Ours are percentages on the test split, mean and sample standard deviation over seeds. The
    paper's are compared with the lenient ones, the scheme of the field. The main detector is the
    first one in the settings.
    """
    scores = uncontrolled(scores)
    test = scores[(scores["split"] == "test") & (scores["cue"] == ALL)]
    rows: list[dict[str, Any]] = []
    for line in lines:
        detectors = [line.detector] if line.detector else [settings.detector[0], NO_DETECTOR]
        of_line = test[(test["variant"] == line.variant) & test["detector"].isin(detectors)]
        for corpus, of_corpus in test.groupby("corpus", sort=False):
            published = line.published.get(str(corpus), {})
            for scheme in ("lenient", "strict"):
                ours = of_line[(of_line["corpus"] == corpus) & (of_line["scheme"] == scheme)]
                if ours.empty and (scheme == "strict" or not published):
                    continue
                place = {"table": table, "row": line.label, "variant": line.variant}
                place["detector"] = str(ours["detector"].iloc[0]) if len(ours) else ""
                place |= {"corpus": str(corpus), "scheme": scheme}
                edition = line.editions.get(str(corpus))
                reasons = [line.incomparable] if line.incomparable else []
                reasons += [f"it is of the {edition} text"] if edition else []
                notes = {
                    "differs": line.differs if len(ours) else "",
                    "incomparable": "; ".join(reasons) if len(ours) and published else "",
                }
                for measure in _measures(table, set(of_corpus["type"])):
                    of_type = ours[ours["type"] == (ALL if measure in OVERALL else measure)]
                    percent = 100 * of_type[OVERALL.get(measure, "f1")]
                    known = published.get(measure) if scheme == "lenient" else None
                    cell = _cell(measure, percent, known)
                    if reasons:
                        cell["difference"] = None
                    rows.append(place | cell | notes)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def statistics_table(
    statistics: Mapping[str, pd.DataFrame],
    published: Mapping[str, Mapping[str, Mapping[str, int]]],
) -> pd.DataFrame:
    """Return Table 1 in long form, from the statistics of each corpus and the paper's counts."""
    rows = []
    for corpus, counted in statistics.items():
        for row in counted.to_dict("records"):
            name = {"entities": row["type"], "posts": "tweets"}.get(row["quantity"])
            if name is None:
                continue
            name = "total" if name == ALL else name
            place = {"table": "table1", "row": name, "variant": "", "detector": ""}
            for split in SPLITS:
                known = published.get(corpus, {}).get(split, {}).get(name)
                cell = _cell(split, pd.Series([row[split]], dtype=float), known)
                notes = {"seeds": "", "differs": "", "incomparable": ""}
                rows.append(place | {"corpus": corpus, "scheme": ""} | cell | notes)
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _measures(table: str, types: set[str]) -> list[str]:
    if table != "table2":
        return list(OVERALL)
    ordered = [name for name in PAPER_ORDER if name in types]
    return [*ordered, *sorted(types - {*PAPER_ORDER, ALL}), *OVERALL]


def _cell(measure: str, ours: pd.Series, published: float | None) -> dict[str, Any]:
    mean = float(ours.mean()) if len(ours) else None
    return {
        "measure": measure,
        "seeds": len(ours),
        "mean": mean,
        "sd": float(ours.std(ddof=1)) if len(ours) > 1 else None,
        "published": published,
        "difference": None if mean is None or published is None else mean - published,
    }


def as_readable(table: pd.DataFrame) -> Readable:
    """Return a table in long form for reading: one table per corpus, ours above the paper's."""
    title = TITLES[str(table["table"].iloc[0])] if len(table) else "Nothing was run for this table"
    about = "" if title in (TITLES["table1"], "Nothing was run for this table") else ABOUT
    parts = []
    for corpus, of_corpus in table.groupby("corpus", sort=False):
        measures = list(dict.fromkeys(of_corpus["measure"]))
        numbers = footnotes(of_corpus)
        rows = []
        for label, of_row in of_corpus.groupby("row", sort=False):
            for number, cells in enumerate(_lines_of_row(of_row, measures)):
                marks = marks_of(of_row, numbers) if number == 0 else []
                rows.append(ReadableRow([str(label) if number == 0 else "", *cells], marks))
        columns = ["", "", *map(str, measures)]
        parts.append(Part(columns, rows, str(corpus), list(numbers), texts=2))
    return Readable(title, about, parts)


def footnotes(of_corpus: pd.DataFrame) -> dict[str, int]:
    """Return the notes on the rows of one corpus of a table, numbered from 1.

    The last one of Table 2, which no row has a mark for, is on all compared systems.
    """
    notes: dict[str, int] = {}
    for label, of_row in of_corpus.groupby("row", sort=False):
        for note in _notes(str(label), of_row):
            notes.setdefault(note, len(notes) + 1)
    if of_corpus["table"].iloc[0] == "table2":
        published = read_yaml(PUBLISHED)
        ours = of_corpus["variant"][of_corpus["mean"].notna()]
        if ours.isin(published["differences"].keys()).any():
            common = Differences.of_all(published).text
            notes[f"In all compared systems, whatever their authors did: {common}."] = 1 + len(
                notes
            )
    return notes


def marks_of(of_row: pd.DataFrame, numbers: Mapping[str, int]) -> list[int]:
    """Return the numbers of the notes on one row."""
    return [numbers[note] for note in _notes(str(of_row["row"].iloc[0]), of_row)]


def _notes(label: str, of_row: pd.DataFrame) -> list[str]:
    differs, reason = (
        next((text for text in of_row[name] if text), "") for name in ("differs", "incomparable")
    )
    notes = [f"{label} differs from its authors' system: {differs}."] if differs else []
    return [*notes, *([f"Not compared with the paper's number: {reason}."] if reason else [])]


def _lines_of_row(row: pd.DataFrame, measures: Sequence[Any]) -> Iterator[list[str]]:
    """Yield the lines of one row: ours in each scheme, the paper's, and the difference."""
    for scheme in row["scheme"].unique():
        of_scheme = row[row["scheme"] == scheme]
        by_measure = of_scheme.set_index("measure").to_dict("index")
        cells = [by_measure[measure] for measure in measures]
        places = 2 if scheme else 0  # Table 1 has counts and no scheme
        if any(pd.notna(cell["mean"]) for cell in cells):
            seeds = max(cell["seeds"] for cell in cells) if scheme else 1
            name = f"ours, {scheme}" if scheme else "ours"
            yield [
                name if seeds == 1 else f"{name}, {seeds} seeds",
                *(_number(cell, "mean", places) + _deviation(cell, places) for cell in cells),
            ]
        if any(pd.notna(cell["published"]) for cell in cells):
            yield ["paper", *(_number(cell, "published", places) for cell in cells)]
        if any(pd.notna(cell["difference"]) for cell in cells):
            yield ["difference", *(_number(cell, "difference", places, "+") for cell in cells)]


def _number(cell: Mapping[Any, Any], name: str, places: int, sign: str = "") -> str:
    if pd.isna(cell[name]):
        return ABSENT
    return f"{float(cell[name]):{sign}.{places}f}".replace("-", "\N{MINUS SIGN}")


def _deviation(cell: Mapping[Any, Any], places: int) -> str:
    return "" if pd.isna(cell["sd"]) else f" ± {cell['sd']:.{places}f}"
