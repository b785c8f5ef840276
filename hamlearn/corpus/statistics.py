"""The paper's Table 1 for a corpus, and which edition of a Twitter corpus it matches."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from hamlearn.corpus.labels import orphans
from hamlearn.corpus.posts import SPLITS, CorpusPost
from hamlearn.io import read_yaml

PUBLISHED = Path(__file__).parents[2] / "resources" / "published.yaml"
PAPER_ORDER = ("PER", "LOC", "ORG", "MISC")
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


def write_statistics(path: str | Path, statistics: pd.DataFrame) -> None:
    """Write statistics as CSV."""
    statistics.to_csv(path, index=False, lineterminator="\n")


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
