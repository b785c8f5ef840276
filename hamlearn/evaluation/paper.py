"""The paper's tables: our scores beside the ones that it prints, with the difference."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pandas as pd

from hamlearn.corpus.posts import SPLITS
from hamlearn.corpus.statistics import PAPER_ORDER
from hamlearn.errors import HamlearnError
from hamlearn.evaluation.evaluate import ALL, read_scores
from hamlearn.evaluation.published import PublishedTable, published_tables
from hamlearn.settings import Settings
from hamlearn.systems import ABLATIONS, full_with_rounds

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
    "table",
    "row",
    "variant",
    "detector",
    "corpus",
    "scheme",
    "measure",
    "seeds",
    "mean",
    "sd",
    "published",
    "difference",
)


@dataclass(frozen=True)
class Line:
    """One row of a table, and where its numbers come from.

    Attributes:
        label: its head.
        variant: whose scores are ours; empty for a system that is a published number alone.
        detector: of these scores; empty takes those of the table's first detector, or of none.
        published: the paper's scores, by corpus and measure.
    """

    label: str
    variant: str = ""
    detector: str = ""
    published: Mapping[str, Mapping[str, float]] = field(default_factory=dict)


@dataclass(frozen=True)
class Experiments:
    """What was trained, as the configuration asks for it.

    Attributes:
        variants: systems of the main table.
        detectors: all of them, the main one first.
        rounds: values of L in Table 4.
        chosen_rounds: the value that `full` has.
        transfer: systems that are tested on the other corpora.
    """

    variants: Sequence[str]
    detectors: Sequence[str]
    rounds: Sequence[int] = ()
    chosen_rounds: int = 3
    transfer: Sequence[str] = ()


def experiments_of(settings: Settings) -> Experiments:
    """Return what a configuration asks to be trained."""
    asked = settings.experiments
    return Experiments(
        variants=settings.variants,
        detectors=list(dict.fromkeys([*settings.detector, *asked.detectors])),
        rounds=asked.rounds,
        chosen_rounds=settings.model.rounds,
        transfer=asked.transfer,
    )


def lines_of(table: str, asked: Experiments) -> list[Line]:
    """Return the rows of a table: the paper's in its order, then what it does not have.

    Args:
        table: table2 to table6.
        asked: what was trained.

    Raises:
        HamlearnError: there is no such table.
    """
    tables = published_tables()
    if table not in tables:
        raise HamlearnError(f"table: found {table!r}, expected one of {', '.join(TITLES)}")
    known = tables[table]
    if table == "table4":
        printed = {row.words["rounds"]: row.scores for row in known.rows}
        return [
            Line(
                f"L = {rounds}",
                full_with_rounds(rounds, asked.chosen_rounds),
                "",
                printed.get(rounds, {}),
            )
            for rounds in sorted(asked.rounds)
        ]
    if table == "table6":
        printed = {row.words["detector"]: row.scores for row in known.rows}
        return [
            Line(detector, "full", detector, printed.get(detector, {}))
            for detector in asked.detectors
        ]
    wanted = {
        "table2": asked.variants,
        "table3": [name for name in asked.variants if name in ABLATIONS],
        "table5": asked.transfer,
    }[table]
    return _compared(known, wanted, whole=table == "table2")


def _compared(known: PublishedTable, wanted: Sequence[str], whole: bool) -> list[Line]:
    """Return the published rows that are wanted, or all, and the wanted ones that have none."""
    lines = []
    for row in known.rows:
        variant = str(row.words.get("variant", ""))
        if variant in wanted or whole:
            ours = variant if variant in wanted else ""
            lines.append(Line(str(row.words["method"]), ours, "", row.scores))
    named = {line.variant for line in lines}
    left = [name for name in wanted if name not in named]
    if whole:  # ablations have a table of their own
        left = [name for name in left if name not in ABLATIONS]
    return [*lines, *(Line(name, name) for name in left)]


def read_all_scores(paths: Iterable[Any]) -> pd.DataFrame:
    """Return the scores of several runs as one frame.

    Raises:
        HamlearnError: there is none, or one is malformed.
    """
    frames = [read_scores(path) for path in paths]
    if not frames:
        raise HamlearnError("scores: found no file, expected the scores of one run at least")
    return pd.concat(frames, ignore_index=True)


def scores_table(
    table: str, lines: Sequence[Line], scores: pd.DataFrame, asked: Experiments
) -> pd.DataFrame:
    """Return a table in long form: one row a cell, in the columns COLUMNS.

    Ours are percents on the test split, mean and sample standard deviation over seeds. The paper's
    stand beside the lenient ones, the scheme of the field.

    Args:
        table: its name.
        lines: its rows.
        scores: of all runs that it inputs.
        asked: what was trained.
    """
    test = scores[(scores["split"] == "test") & (scores["cue"] == ALL)]
    corpora = list(dict.fromkeys(str(corpus) for corpus in test["corpus"]))
    rows: list[dict[str, Any]] = []
    for line in lines:
        main = asked.detectors[0] if asked.detectors else ""
        detectors = (line.detector,) if line.detector else (main, "none")
        of_line = test[(test["variant"] == line.variant) & test["detector"].isin(detectors)]
        for corpus in corpora:
            ours = of_line[of_line["corpus"] == corpus]
            printed = line.published.get(corpus, {})
            measures = _measures(table, set(test[test["corpus"] == corpus]["type"]))
            for scheme in ("lenient", "strict"):
                of_scheme = ours[ours["scheme"] == scheme]
                if of_scheme.empty and (scheme == "strict" or not printed):
                    continue
                place = {
                    "table": table,
                    "row": line.label,
                    "variant": line.variant,
                    "detector": str(of_scheme["detector"].iloc[0]) if len(of_scheme) else "",
                    "corpus": corpus,
                    "scheme": scheme,
                }
                known = printed if scheme == "lenient" else {}
                rows += [
                    place | _cell(name, _of_measure(of_scheme, name), known.get(name))
                    for name in measures
                ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def statistics_table(
    statistics: Mapping[str, pd.DataFrame], printed: Mapping[str, Mapping[str, Mapping[str, int]]]
) -> pd.DataFrame:
    """Return Table 1 in long form: counts of entities by type, and of posts.

    Args:
        statistics: of each corpus, as `corpus_statistics` counts them.
        printed: the paper's, by corpus, split and type.
    """
    rows = []
    for corpus, counted in statistics.items():
        for _, row in counted.iterrows():
            name = {"entities": row["type"], "posts": "tweets"}.get(row["quantity"])
            if name is None:
                continue
            name = "total" if name == ALL else name
            for split in SPLITS:
                known = printed.get(corpus, {}).get(split, {}).get(name)
                place = {"table": "table1", "row": name, "variant": "", "detector": ""}
                place |= {"corpus": corpus, "scheme": ""}
                cell = _cell(split, pd.Series([row[split]], dtype=float), known)
                rows.append(place | cell | {"seeds": ""})
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _measures(table: str, types: set[str]) -> list[str]:
    if table != "table2":
        return list(OVERALL)
    ordered = [name for name in PAPER_ORDER if name in types]
    return [*ordered, *sorted(types - {*PAPER_ORDER, ALL}), *OVERALL]


def _of_measure(scores: pd.DataFrame, name: str) -> pd.Series:
    """Return one measure of each seed, in percent: P, R or F1 over all, or F1 of a type."""
    of_type = scores[scores["type"] == (ALL if name in OVERALL else name)]
    return 100 * of_type[OVERALL.get(name, "f1")]


def _cell(measure: str, ours: pd.Series, printed: float | None) -> dict[str, Any]:
    found = len(ours) > 0
    mean = float(ours.mean()) if found else None
    return {
        "measure": measure,
        "seeds": len(ours),
        "mean": mean,
        "sd": float(ours.std(ddof=1)) if len(ours) > 1 else None,
        "published": printed,
        "difference": mean - printed if mean is not None and printed is not None else None,
    }
