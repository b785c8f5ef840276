"""The report's tables: numbers turned into text, laid out in rows, nothing of HTML."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd

from hamlearn.corpus.posts import SPLITS
from hamlearn.corpus.statistics import NAMES
from hamlearn.evaluation.evaluate import ALL
from hamlearn.evaluation.summary import mean_and_deviation
from hamlearn.report.inputs import NO_DETECTOR, TEST, CorpusResults
from hamlearn.systems import SYSTEMS

ABSENT = "–"  # noqa: RUF001
MEASURES = {"precision": "P", "recall": "R", "f1": "F1"}
SCHEMES = ("lenient", "strict")
REASONS = 6  # rows of reasons that are shown, the rarest put together


@dataclass(frozen=True)
class Cell:
    """One number, with a second one below it in small print, as text."""

    text: str
    below: str = ""


@dataclass(frozen=True)
class Row:
    """One row.

    Attributes:
        name: its head.
        cells: one a column.
        note: in small print beside the head.
        kind: "reference" for what is no result of a run, "total" for a sum; else empty.
    """

    name: str
    cells: tuple[Cell, ...]
    note: str = ""
    kind: str = ""


@dataclass(frozen=True)
class Table:
    """A table with its caption.

    Attributes:
        caption: what is in it, in which scheme, and of how many.
        corner: head of the column of row heads.
        columns: heads of the other columns.
        rows: from top to bottom.
        groups: heads over columns, each with the number of columns that it spans.
        words: whether the cells are words and not numbers.
    """

    caption: str
    corner: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    groups: tuple[tuple[str, int], ...] = ()
    words: bool = False


def headline(corpus: CorpusResults, split: str) -> Table | None:
    """Return micro precision, recall and F1 in both schemes; None where the split has no scores."""
    micro = chosen_rows(corpus.scores, split=split, type=ALL, cue=ALL)
    if micro.empty:
        return None

    def cells(runs: pd.DataFrame) -> tuple[Cell, ...]:
        numbers = (
            mean_and_deviation(chosen_rows(runs, scheme=scheme)[measure])
            for scheme in SCHEMES
            for measure in MEASURES
        )
        return tuple(map(Cell, numbers))

    posts = sum(post.split == split for post in corpus.posts)
    return Table(
        caption=f"The {split} split, micro over types, in percent{_over_seeds(corpus)}."
        f" n = {posts} posts with {_supports(micro)} entities.",
        corner="Variant",
        columns=tuple(MEASURES.values()) * 2,
        rows=_by_variant(micro, cells),
        groups=tuple((scheme, len(MEASURES)) for scheme in SCHEMES),
    )


def by_cue(corpus: CorpusResults) -> Table | None:
    """Return test F1 by cue, under it the text ceiling; None for a corpus without cues."""
    micro = chosen_rows(corpus.scores, split=TEST, type=ALL)
    cues = cues_of_scores(micro)
    if not cues:
        return None
    rows = [*_by_variant(micro, lambda runs: _in_both(runs, "cue", (ALL, *cues)))]
    caption = (
        f"F1 on test by what decides the entity's type, in percent{_over_seeds(corpus)}: lenient,"
        " and strict in small print below it; n is the number of gold entities."
    )
    if corpus.ceiling:
        stated = [corpus.ceiling.get("overall"), *map(corpus.ceiling.get, cues)]
        cells = tuple(Cell(ABSENT if f1 is None else f"{100 * f1:.2f}") for f1 in stated)
        rows.append(Row("text ceiling", cells, "stated by the generator", kind="reference"))
        caption += (
            " Text ceiling: the best F1 that words alone can be expected to reach, computed from"
            " the probabilities that the corpus was drawn with."
        )
    rows.append(_support_row(micro, "cue", (ALL, *cues)))
    return Table(caption, "Variant", ("all", *cues), tuple(rows))


def by_type(corpus: CorpusResults) -> Table | None:
    """Return test F1 by entity type; None where the test split has no scores."""
    every = chosen_rows(corpus.scores, split=TEST, cue=ALL)
    if every.empty:
        return None
    order = [str(name) for name in corpus.statistics["type"]]
    types = {str(name) for name in every["type"]} - {ALL}
    ordered = sorted(types, key=lambda name: (name not in order, (*order, name).index(name), name))
    rows = [*_by_variant(every, lambda runs: _in_both(runs, "type", (*ordered, ALL)))]
    rows.append(_support_row(every, "type", (*ordered, ALL)))
    return Table(
        caption=f"F1 on test by entity type, in percent{_over_seeds(corpus)}: lenient, and strict"
        " in small print below it; n is the number of gold entities.",
        corner="Variant",
        columns=(*ordered, "all"),
        rows=tuple(rows),
    )


def corpus_table(corpus: CorpusResults) -> Table:
    """Return the corpus in the rows and words of the paper's Table 1."""
    rows = []
    for row in corpus.statistics.to_dict("records"):
        total = row["quantity"] == "entities" and row["type"] == ALL
        name = NAMES.get(row["quantity"], "Total" if total else str(row["type"]))
        cells = tuple(Cell(str(row[column])) for column in (*SPLITS, "total"))
        rows.append(Row(name, cells, kind="total" if total else ""))
    return Table(
        caption="The corpus as in Table 1 of the paper: entities are B- tags.",
        corner="Entity type",
        columns=("Train", "Dev", "Test", "All"),
        rows=tuple(rows),
    )


def unusable_pictures(corpus: CorpusResults) -> Table | None:
    """Return posts whose picture gave nothing, by reason and split; None where there are none."""
    if not corpus.unusable:
        return None
    found: dict[tuple[str, str], Counter[str]] = {}
    for post in corpus.unusable:
        found.setdefault(corpus.failures[post.image_id], Counter())[post.split] += 1
    ordered = sorted(found.items(), key=lambda item: (-item[1].total(), item[0]))
    rows = [
        Row(status.replace("_", " "), _splits(counts), reason)
        for (status, reason), counts in ordered[:REASONS]
    ]
    if len(ordered) > REASONS:
        rest: Counter[str] = sum((counts for _, counts in ordered[REASONS:]), Counter())
        rows.append(Row("other reasons", _splits(rest), f"{len(ordered) - REASONS} more"))
    total = Counter(post.split for post in corpus.unusable)
    size = Counter(post.split for post in corpus.posts)
    rows.append(Row("all reasons", _splits(total), kind="total"))
    rows.append(Row("posts", _splits(size), kind="reference"))
    return Table(
        caption="Posts without a usable picture, by reason.",
        corner="Reason",
        columns=("Train", "Dev", "Test", "All"),
        rows=tuple(rows),
    )


def run_facts(corpus: CorpusResults) -> Table:
    """Return what each run was: its size, its time, the epoch that dev chose."""
    rows = []
    for run in corpus.runs:
        facts = run.facts
        values = (
            str(run.seed),
            f"{facts.parameters:,}",
            f"{facts.epoch} of {facts.training.epochs}",
            f"{facts.seconds_per_epoch:.1f}",
            facts.graph_backend or ABSENT,
            facts.text.encoder if facts.inputs.encoder else f"word vectors: {facts.word_vectors}",
            f"{facts.precision} on {facts.device}",
        )
        rows.append(Row(run.variant, tuple(map(Cell, values)), _seen(run.detector, run.variant)))
    return Table(
        caption="Every run. The epoch is chosen on dev micro F1 (lenient) alone.",
        corner="Variant",
        columns=("Seed", "Parameters", "Epoch", "s / epoch", "Graphs", "Encoder", "Numbers"),
        rows=tuple(rows),
    )


def cues_of_scores(scores: pd.DataFrame) -> list[str]:
    """Return the cues of a corpus, `all` left out, in their order."""
    return [str(cue) for cue in dict.fromkeys(scores["cue"]) if cue != ALL]


def variants_of(scores: pd.DataFrame) -> list[tuple[str, str]]:
    """Return detector and variant of all runs, in their order."""
    pairs = zip(scores["detector"], scores["variant"], strict=True)
    return [(str(detector), str(variant)) for detector, variant in dict.fromkeys(pairs)]


def chosen_rows(scores: pd.DataFrame, **chosen: str) -> pd.DataFrame:
    """Return the rows in which each column named has the value given."""
    for column, value in chosen.items():
        scores = scores[scores[column] == value]
    return scores


def _by_variant(
    scores: pd.DataFrame, cells: Callable[[pd.DataFrame], tuple[Cell, ...]]
) -> tuple[Row, ...]:
    return tuple(
        Row(
            variant,
            cells(chosen_rows(scores, detector=detector, variant=variant)),
            _seen(detector, variant),
        )
        for detector, variant in variants_of(scores)
    )


def _in_both(runs: pd.DataFrame, column: str, names: Sequence[str]) -> tuple[Cell, ...]:
    """Return F1 by the values of a column: lenient, and strict below."""
    cells = []
    for name in names:
        some = chosen_rows(runs, **{column: name})
        both = (mean_and_deviation(chosen_rows(some, scheme=s)["f1"]) for s in SCHEMES)
        upper, lower = (ABSENT if text == "-" else text for text in both)
        cells.append(Cell(upper, lower))
    return tuple(cells)


def _support_row(scores: pd.DataFrame, column: str, names: Sequence[str]) -> Row:
    """Return the number of gold entities by the values of a column: the same in every run."""
    cells = [Cell(_supports(chosen_rows(scores, **{column: name}))) for name in names]
    return Row("n", tuple(cells), "gold entities", kind="reference")


def _supports(scores: pd.DataFrame) -> str:
    """Return the gold entities of the lenient scheme, and of the strict one where it differs."""
    both = [chosen_rows(scores, scheme=scheme)["support"] for scheme in SCHEMES]
    found = [str(int(support.iloc[0])) for support in both if not support.empty]
    if len(set(found)) == 2:
        return f"{found[0]} (strict {found[1]})"
    return found[0] if found else ABSENT


def _splits(counts: Mapping[str, int]) -> tuple[Cell, ...]:
    numbers = [counts.get(split, 0) for split in SPLITS]
    return tuple(Cell(str(number)) for number in (*numbers, sum(numbers)))


def _seen(detector: str, variant: str) -> str:
    """Say what a run sees: the objects of a detector, the whole picture, or nothing."""
    if detector != NO_DETECTOR:
        return detector
    sees = variant in SYSTEMS and SYSTEMS[variant].inputs.files
    return "whole picture" if sees else "no pictures"


def _over_seeds(corpus: CorpusResults) -> str:
    """Say over how many seeds a number is a mean."""
    seeds = corpus.scores.groupby(["detector", "variant"], sort=False)["seed"].nunique()
    low, high = int(seeds.min()), int(seeds.max())
    if high == 1:
        return ", of one seed"
    return f", mean ± standard deviation over {low if low == high else f'{low} to {high}'} seeds"
