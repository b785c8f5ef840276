"""What the images contribute: each system against itself without their information."""

from collections.abc import Mapping
from typing import Any

import pandas as pd

from hamlearn.evaluation.controls import SYSTEM, TRAINED
from hamlearn.evaluation.scores import ALL
from hamlearn.evaluation.significance import LEVEL
from hamlearn.report.inputs import NO_DETECTOR, CorpusResults
from hamlearn.report.tables import Row, Table, cells, select, signed

IMAGES, TEXTS = "images", "texts"
LARGEST_P = 1 - LEVEL  # of a difference that is called significant
WORDS = {  # of a control, after "itself"; {} is what the system reads, such as images
    "removed": "without {}",
    "shuffled": "with the {} of other posts",
    "blank": "with the mean image everywhere",
    TRAINED: "trained with the {} of other posts",
}


def _words(control: str, what: str) -> str:
    is_blank_text = control == "blank" and what == TEXTS
    return WORDS["removed" if is_blank_text else control].format(what)


def _what(corpus: CorpusResults, detector: str, variant: str) -> str:
    """Return what a control of a system takes away: images, additional texts, or both."""
    runs = corpus.runs_of(detector, variant)
    if not runs or not runs[0].facts.inputs.texts:
        return IMAGES
    return f"{IMAGES} and {TEXTS}" if runs[0].reads_images else TEXTS


def effects_table(corpus: CorpusResults) -> Table | None:
    """Return what every system gains over its controls; None where no control was run."""
    if corpus.effects.empty:
        return None
    rows = []
    for (_, detector, variant, control), found in _by(corpus.effects, (*SYSTEM, "control")):
        groups = {group: some.iloc[0] for group, some in found.groupby("has_picture", sort=False)}
        every = groups[ALL]
        values = [
            f"{every['f1']:.2f}",
            f"{every['control_f1']:.2f}",
            signed(every["gain"]),
            _brackets(every),
            _p(every["p"]),
            *(_gain_of(groups.get(group)) for group in ("yes", "no")),
        ]
        note = "" if detector == NO_DETECTOR else str(detector)
        words = _words(str(control), _what(corpus, detector, variant))
        rows.append(Row(f"{variant} {words}", cells(values), note))
    first = corpus.effects.iloc[0]
    seeds = corpus.effects["seeds"].max()
    return Table(
        caption="What images contribute: lenient F1 on test of each system as it is, and under a"
        f" control, in points. Gain, its {LEVEL:.0%} interval over posts and seeds, and p for"
        f" others; with one seed, of these models alone. n = {first['posts']:,} posts, {seeds} seed"
        f"{'' if seeds == 1 else 's'}; the last two columns: posts with and without an image.",
        corner="System and control",
        columns=("As it is", "Control", "Gain", "Interval", "p", "With image", "Without"),
        rows=tuple(rows),
    )


def relevance_table(corpus: CorpusResults) -> Table | None:
    """Return what relevance tells apart, by system and view; None where none is measured."""
    auc = select(corpus.relevance, measure="auc")
    if auc.empty:
        return None
    rows = []
    for (_, detector, variant, view), found in _by(corpus.relevance, (*SYSTEM, "view")):
        known = {(one["measure"], one["group"]): one for one in found.to_dict("records")}
        names = ("own image", "exchanged image")
        area = known.get(("auc", "own against exchanged"))
        if area is None:
            continue
        values = [
            f"{area['value']:.3f}",
            f"[{area['low']:.3f} to {area['high']:.3f}]",
            *(signed(known["mean", name]["value"], 3) for name in names),
            *(
                signed(known["mean", name]["value"], 3) if ("mean", name) in known else ""
                for name in ("all entities right", "some entity wrong")
            ),
            f"{area['posts']:,}",
        ]
        note = "" if detector == NO_DETECTOR else str(detector)
        rows.append(Row(f"{variant}, {view}", cells(values), note))
    return Table(
        caption="What relevance tells: the area under the ROC curve (AUC) of M at telling a post's"
        f" own image from another post's, with its {LEVEL:.0%} bootstrap interval; 0.5 is chance."
        " Then the mean of M for own and for exchanged images, and for posts predicted rightly and"
        " not. By entity type: relevance.csv.",
        corner="System and view",
        columns=("AUC", "Interval", "Own", "Exchanged", "Right", "Wrong", "n, posts"),
        rows=tuple(rows),
    )


def sentences(corpus: CorpusResults) -> dict[str, str]:
    """Return what the images give each system, in the words of its strongest control.

    A gain is stated where the interval and p, if there is one, agree on it. The strongest control
    is the same system trained with exchanged images, which differs from it in nothing but
    information; exchanging the images of a trained system shows only that it reads them.
    """
    found = {}
    for (_, detector, variant), rows in _by(corpus.effects, SYSTEM):
        name = variant if len(corpus.detectors) < 2 else f"{variant} ({detector})"
        by_control = {
            one["control"]: one for one in select(rows, has_picture=ALL).to_dict("records")
        }
        what = _what(corpus, detector, variant)
        parts = [
            _sentence(by_control[control], control, what)
            for control in (TRAINED, "shuffled")
            if control in by_control
        ]
        if parts:
            found[f"{what.capitalize()} in {name}:"] = " ".join(parts)
    return found


def _sentence(row: Mapping[Any, Any], control: str, what: str) -> str:
    several, one = f"mean of {row['seeds']} seeds", "one seed: of this training alone"
    basis = several if row["seeds"] > 1 else one
    numbers = (
        f"{row['f1']:.2f} against {row['control_f1']:.2f} for itself {_words(control, what)}"
        f" {_brackets(row)}{_p_of(row)}, {basis}, on {row['posts']:,} posts"
    )
    is_clear = not row["p"] > LARGEST_P and (row["low"] > 0 or row["high"] < 0)
    if control == TRAINED:
        if is_clear and row["gain"] > 0:
            return f"they give {row['gain']:.2f} points: {numbers}."
        if is_clear:
            return f"they cost {-row['gain']:.2f} points: {numbers}."
        return f"no contribution is shown: {numbers}."
    if is_clear and row["gain"] > 0:
        return f"At test time it reads them: {numbers}."
    return f"At test time it makes no clear difference to exchange them: {numbers}."


def _by(table: pd.DataFrame, columns: tuple[str, ...]) -> Any:
    return table.groupby(list(columns), sort=False)


def _brackets(row: Mapping[Any, Any]) -> str:
    return f"[{signed(row['low'])} to {signed(row['high'])}]"


def _p_of(row: Mapping[Any, Any]) -> str:
    return "" if pd.isna(row["p"]) else f", p {_p(row['p'], '= ')}"


def _p(value: float, equals: str = "") -> str:
    if pd.isna(value):
        return ""
    return "< 0.001" if value < 0.001 else f"{equals}{value:.3f}"


def _gain_of(row: Mapping[Any, Any] | None) -> str:
    return "" if row is None else f"{signed(row['gain'])} ({row['posts']:,})"
