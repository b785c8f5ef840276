"""The paper's Table 1 for a corpus, and which edition of a Twitter corpus it matches."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from hamlearn.corpus.labels import orphans
from hamlearn.corpus.posts import SPLITS, CorpusPost
from hamlearn.distribution import root
from hamlearn.io import escape_cell, read_yaml

PUBLISHED = root() / "resources" / "published.yaml"
PAPER_ORDER = ("PER", "LOC", "ORG", "MISC")
RARE = 5  # entities; a type with fewer may be a mistyped label
CELLS = (*PAPER_ORDER, "total", "tweets")  # rows of Table 1
COLUMNS = ("quantity", "type", *SPLITS, "total")
NAMES = {
    "posts": "Tweets",
    "dev_from_train": "Dev posts out of train",
    "orphan_inside": "Orphan I- tags",
    "longest_post": "Longest post (words)",
    "missing_pictures": "Missing pictures",
}
Counts = dict[str, dict[str, int]]  # by split, then by cell of Table 1


def corpus_statistics(posts: Sequence[CorpusPost], dev_from_train: bool = False) -> pd.DataFrame:
    """Count the posts of a corpus as in Table 1, where an entity is a B- tag.

    Returns:
        Integers in the columns train, dev, test and total, one row per `quantity`: entities (one
        row per `type`, then `all`), posts, dev_from_train (if requested), orphan_inside (I- tags
        without a B- tag), longest_post (words; the total is the maximum) and missing_pictures
        (posts without an image file).
    """
    found = {label[2:] for post in posts for label in post.labels if label != "O"}
    types = [t for t in PAPER_ORDER if t in found] + sorted(found - set(PAPER_ORDER))
    rows: list[tuple[str, str, Callable[[Sequence[CorpusPost]], int]]] = [
        *(("entities", type_, _counter(f"B-{type_}")) for type_ in types),
        ("entities", "all", lambda some: sum(_counter(f"B-{type_}")(some) for type_ in types)),
        ("posts", "all", len),
        ("dev_from_train", "all", lambda some: sum(post.split == "dev" for post in some)),
        ("orphan_inside", "all", lambda some: sum(orphans(post.labels) for post in some)),
        ("longest_post", "all", lambda some: max((len(post.words) for post in some), default=0)),
        ("missing_pictures", "all", lambda some: sum(post.image_path is None for post in some)),
    ]
    groups = [[post for post in posts if post.split == split] for split in SPLITS]
    groups.append(list(posts))
    counts = [
        (name, type_, *map(count, groups))
        for name, type_, count in rows
        if name != "dev_from_train" or dev_from_train
    ]
    return pd.DataFrame(counts, columns=list(COLUMNS))


def _counter(label: str) -> Callable[[Sequence[CorpusPost]], int]:
    return lambda some: sum(post.labels.count(label) for post in some)


def statistics_text(statistics: pd.DataFrame) -> str:
    """Format the result of `corpus_statistics` as plain text, with the row names of Table 1."""
    lines: list[tuple[str, ...]] = [("Ent Type", "Train", "Val", "Test", "All")]
    for row in statistics.to_dict("records"):
        name = NAMES.get(row["quantity"], "Total" if row["type"] == "all" else row["type"])
        lines.append((name, *(f"{row[column]:d}" for column in (*SPLITS, "total"))))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "".join(
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        + "\n"
        for line in lines
    )


def similar_types(statistics: pd.DataFrame) -> list[str]:
    """Describe each type of fewer than RARE entities whose name is nearly that of a commoner one.

    That is, they differ in at most two letters, or in case alone. Such a type is often a typing
    error in a label.
    """
    entities = statistics[(statistics["quantity"] == "entities") & (statistics["type"] != "all")]
    counts = {row["type"]: int(row["total"]) for row in entities.to_dict("records")}
    found = []
    for name, count in counts.items():
        others = [other for other, more in counts.items() if count < min(RARE, more)]
        for other in sorted(others, key=lambda other: -counts[other]):
            letters = edits(name.casefold(), other.casefold())
            if letters <= 2 and letters < min(len(name), len(other)):
                found.append(
                    f"type {name!r} of {count} entities is nearly {other!r} of {counts[other]}:"
                    " is its label mistyped?"
                )
                break
    return found


def edits(first: str, second: str) -> int:
    """Return how many letters to insert, delete or replace make one string the other."""
    row = list(range(len(second) + 1))
    for number, letter in enumerate(first, start=1):
        before, row[0] = row[0], number
        for place, other in enumerate(second, start=1):
            cost = min(row[place] + 1, row[place - 1] + 1, before + (letter != other))
            before, row[place] = row[place], cost
    return row[-1]


def write_statistics(path: str | Path, statistics: pd.DataFrame) -> None:
    """Write statistics as CSV."""
    escaped = statistics.assign(type=statistics["type"].map(escape_cell))
    escaped.to_csv(path, index=False, lineterminator="\n")


@dataclass(frozen=True)
class Edition:
    """A known text of `corpus`, Twitter-2015 or -2017, with its Table 1."""

    corpus: str
    name: str
    counts: Counts


def editions() -> list[Edition]:
    """Return the known editions; the paper's own come first."""
    published = read_yaml(PUBLISHED)
    names = {"table1": "as in the paper's Table 1", "relabelled": "relabelled"}
    return [
        Edition(corpus, f"{corpus}, {name}", counts)
        for section, name in names.items()
        for corpus, counts in published[section].items()
        if corpus != "source"
    ]


def table1_counts(statistics: pd.DataFrame) -> Counts:
    """Return the cells of Table 1, and those of other types, from `corpus_statistics`."""
    rows = statistics[statistics["quantity"].isin(["entities", "posts"])].to_dict("records")
    counts: Counts = {split: dict.fromkeys(CELLS, 0) for split in SPLITS}
    for row in rows:
        cell = "tweets" if row["quantity"] == "posts" else row["type"]
        for split in SPLITS:
            counts[split]["total" if cell == "all" else cell] = int(row[split])
    return counts


def nearest_edition(counts: Counts, known: Sequence[Edition]) -> tuple[Edition, list[str]]:
    """Return the edition from which the fewest cells differ, and a description of each."""
    pairs = []
    for edition in known:
        differences = []
        for split in SPLITS:
            for cell, found in counts[split].items():
                expected = edition.counts[split].get(cell, 0)
                if found != expected:
                    differences.append(f"{split} {cell}: {found}, expected {expected}")
        pairs.append((edition, differences))
    return min(pairs, key=lambda pair: len(pair[1]))


def is_near(counts: Counts, edition: Edition) -> bool:
    """Return True if a corpus seems to be a copy of an edition, whole or damaged.

    A third of the counts are equal, or all together they differ by a tenth at most.
    """
    cells = [(split, cell) for split in SPLITS for cell in CELLS if edition.counts[split][cell]]
    pairs = [(counts[split][cell], edition.counts[split][cell]) for split, cell in cells]
    equal = sum(found == expected for found, expected in pairs)
    apart = sum(abs(found - expected) for found, expected in pairs)
    return 3 * equal >= len(pairs) or 10 * apart <= sum(expected for _, expected in pairs)
