"""Every pair of systems compared on the same test posts: difference, interval, p and n."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from hamlearn.corpus.posts import CorpusPost
from hamlearn.errors import HamlearnError
from hamlearn.evaluation.evaluate import read_predictions
from hamlearn.evaluation.significance import Counts, count, difference, mean_f1, p_value
from hamlearn.io import atomic_write

COLUMNS = (
    "corpus",
    "detector",
    "variant",
    "other_detector",
    "other",
    "seeds",
    "posts",
    "f1",
    "other_f1",
    "difference",
    "low",
    "high",
    "p",
)


@dataclass(frozen=True, order=True)
class System:
    """A variant and the detector whose objects it saw."""

    corpus: str
    detector: str
    variant: str


def compare(
    predictions: Iterable[str | Path], posts: Mapping[str, Sequence[CorpusPost]]
) -> pd.DataFrame:
    """Compare all systems of a corpus, two by two, on lenient micro F1 of the test split.

    Two systems are compared on the seeds that both have; a pair with none in common has no row.

    Args:
        predictions: files `.../{corpus}/{detector}/{variant}/seed{seed}/test.jsonl`.
        posts: the posts of each corpus.

    Returns:
        One row a pair, in the columns COLUMNS. `difference` is F1 of `other` less F1 of `variant`,
        in points; `low` and `high` are its 99 % bootstrap interval over posts and seeds; `p` is of
        the paired randomisation over posts; `posts` is n.

    Raises:
        HamlearnError: a file is not named so, is malformed, or is of an unknown corpus.
    """
    counts: dict[System, dict[int, Counts]] = {}
    for path in map(Path, predictions):
        system, seed = _run_of(path)
        if system.corpus not in posts:
            raise HamlearnError(f"{path}: found no posts of a corpus {system.corpus!r}")
        test = [post for post in posts[system.corpus] if post.split == "test"]
        counts.setdefault(system, {})[seed] = count(test, read_predictions(path, test))
    rows = [
        _row(one, other, counts[one], counts[other])
        for one, other in combinations(counts, 2)
        if one.corpus == other.corpus and counts[one].keys() & counts[other].keys()
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def write_comparison(path: str | Path, comparison: pd.DataFrame) -> None:
    """Write the pairs as CSV, whole or not at all."""
    with atomic_write(path) as part:
        comparison.to_csv(part, index=False, float_format="%.6f", lineterminator="\n")


def _row(
    one: System, other: System, ours: dict[int, Counts], theirs: dict[int, Counts]
) -> tuple[str | int | float, ...]:
    seeds = sorted(ours.keys() & theirs.keys())
    base, against = (np.stack([counts[seed] for seed in seeds]) for counts in (ours, theirs))
    gap = difference(base, against)
    return (
        one.corpus,
        one.detector,
        one.variant,
        other.detector,
        other.variant,
        len(seeds),
        base.shape[1],
        100 * mean_f1(base),
        100 * mean_f1(against),
        100 * gap.value,
        100 * gap.low,
        100 * gap.high,
        p_value(base, against),
    )


def _run_of(path: Path) -> tuple[System, int]:
    parts = path.parts[-5:-1]
    if len(parts) < 4 or not parts[3].removeprefix("seed").isdigit() or path.name != "test.jsonl":
        raise HamlearnError(
            f"{path}: expected a file CORPUS/DETECTOR/VARIANT/seedN/test.jsonl of predictions"
        )
    return System(*parts[:3]), int(parts[3].removeprefix("seed"))
