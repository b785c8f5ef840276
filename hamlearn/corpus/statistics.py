"""The paper's Table 1 for a corpus, and what the table does not tell."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from hamlearn.corpus.labels import orphans
from hamlearn.corpus.posts import SPLITS, CorpusPost
from hamlearn.io import atomic_write

PAPER_ORDER = ("PER", "LOC", "ORG", "MISC")
COLUMNS = ("quantity", "type", *SPLITS, "total")
NAMES = {
    "posts": "Tweets",
    "dev_from_train": "Dev posts out of train",
    "orphan_inside": "Orphan I- tags",
    "longest_post": "Longest post (words)",
    "missing_pictures": "Missing pictures",
}
Counted = Callable[[Sequence[CorpusPost]], int]


def corpus_statistics(posts: Sequence[CorpusPost], dev_from_train: bool = False) -> pd.DataFrame:
    """Count a corpus as Table 1 does: entities are B- tags.

    Args:
        posts: all posts of a corpus, as read or as prepared.
        dev_from_train: the corpus came without dev, and some of train is it.

    Returns:
        Integers in the columns train, dev, test and total, one row for each `quantity`: entities
        (one row a `type`, then `all`), posts, orphan_inside (I- tags with no B- before them),
        longest_post (words; its total is the longest of all) and missing_pictures (posts with no
        picture file); and after posts, if some of train is dev, dev_from_train.
    """
    found = {label[2:] for post in posts for label in post.labels if label != "O"}
    types = [t for t in PAPER_ORDER if t in found] + sorted(found - set(PAPER_ORDER))
    quantities: list[tuple[str, str, Counted]] = [
        *(("entities", type_, _tagged(f"B-{type_}")) for type_ in types),
        ("entities", "all", _tagged("B-")),
        ("posts", "all", len),
        ("orphan_inside", "all", lambda some: sum(orphans(post.labels) for post in some)),
        ("longest_post", "all", lambda some: max((len(post.words) for post in some), default=0)),
        ("missing_pictures", "all", lambda some: sum(post.image_path is None for post in some)),
    ]
    if dev_from_train:
        at = [name for name, *_ in quantities].index("posts") + 1
        quantities.insert(at, ("dev_from_train", "all", _in_dev))
    groups = [[post for post in posts if post.split == split] for split in SPLITS]
    groups.append(list(posts))
    rows = [(name, type_, *map(count, groups)) for name, type_, count in quantities]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def statistics_text(statistics: pd.DataFrame) -> str:
    """Lay statistics out as plain text, in the rows and words of Table 1.

    Args:
        statistics: as `corpus_statistics` returns it.
    """
    lines: list[tuple[str, ...]] = [("Ent Type", "Train", "Val", "Test", "All")]
    for row in statistics.to_dict("records"):
        name = NAMES.get(row["quantity"], "Total" if row["type"] == "all" else row["type"])
        lines.append((name, *(f"{row[column]:d}" for column in (*SPLITS, "total"))))
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return "".join(
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        + "\n"
        for line in lines
    )


def write_statistics(path: str | Path, statistics: pd.DataFrame) -> None:
    """Write statistics as CSV, whole or not at all."""
    with atomic_write(path) as part:
        statistics.to_csv(part, index=False, lineterminator="\n")


def _in_dev(some: Sequence[CorpusPost]) -> int:
    return sum(post.split == "dev" for post in some)


def _tagged(beginning: str) -> Counted:
    """Return a count of the labels that are a B- tag, or of all B- tags for `B-`."""
    if beginning == "B-":
        return lambda some: sum(label[0] == "B" for post in some for label in post.labels)
    return lambda some: sum(post.labels.count(beginning) for post in some)
