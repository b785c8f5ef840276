"""Which edition of Twitter-2015 or -2017 a text is, by the counts of the paper's Table 1."""

from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import yaml

from hamlearn.corpus.posts import SPLITS
from hamlearn.corpus.statistics import PAPER_ORDER
from hamlearn.errors import HamlearnError

PUBLISHED = Path(__file__).parents[2] / "resources" / "published.yaml"
CELLS = (*PAPER_ORDER, "total", "tweets")

Counts = dict[str, dict[str, int]]  # by split, then by cell of Table 1


@dataclass(frozen=True)
class Edition:
    """A text that people call by the name of a corpus.

    Attributes:
        corpus: twitter2015 or twitter2017.
        name: what it is called in messages.
        counts: of each split.
    """

    corpus: str
    name: str
    counts: Counts


def editions(path: str | Path = PUBLISHED) -> list[Edition]:
    """Read the known editions.

    Raises:
        HamlearnError: the file is absent, or lacks a count.
    """
    path = Path(path)
    if not path.is_file():
        raise HamlearnError(f"{path}: no such file, expected the numbers of the paper's Table 1")
    published = yaml.safe_load(path.read_text(encoding="utf-8"))
    found = []
    for section, said in (("table1", "as in the paper's Table 1"), ("relabelled", "relabelled")):
        for corpus, counts in published.get(section, {}).items():
            if corpus == "source":
                continue
            if any(set(counts.get(split, {})) != set(CELLS) for split in SPLITS):
                raise HamlearnError(
                    f"{path}: {section}.{corpus}: expected {', '.join(CELLS)} of train, dev, test"
                )
            found.append(Edition(corpus, f"{corpus}, {said}", counts))
    return found


def counts_of(statistics: pd.DataFrame) -> Counts:
    """Return the cells of Table 1, and those of types that it has not.

    Args:
        statistics: as hamlearn.corpus.statistics gives them.
    """
    rows = statistics[statistics["quantity"].isin(["entities", "posts"])].to_dict("records")
    counts: Counts = {split: dict.fromkeys(CELLS, 0) for split in SPLITS}
    for row in rows:
        cell = "tweets" if row["quantity"] == "posts" else row["type"]
        for split in SPLITS:
            counts[split]["total" if cell == "all" else cell] = int(row[split])
    return counts


def differences(counts: Counts, edition: Edition) -> list[str]:
    """Return the cells that are not those of an edition, in words."""
    return [
        f"{split} {cell}: {found}, expected {edition.counts[split].get(cell, 0)}"
        for split in SPLITS
        for cell, found in counts[split].items()
        if found != edition.counts[split].get(cell, 0)
    ]


def nearest(counts: Counts, known: list[Edition]) -> tuple[Edition, list[str]]:
    """Return the edition from which the fewest cells differ, and these."""
    return min(
        ((edition, differences(counts, edition)) for edition in known),
        key=lambda pair: len(pair[1]),
    )
