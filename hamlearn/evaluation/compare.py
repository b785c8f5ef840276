"""Compare every pair of systems on the same test posts: difference, interval, p and n."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from hamlearn.corpus.posts import CorpusPost
from hamlearn.errors import HamlearnError
from hamlearn.evaluation.evaluate import GROUPS, read_predictions
from hamlearn.evaluation.scores import ALL
from hamlearn.evaluation.significance import Counts, count, difference, mean_f1, p_value

COLUMNS = (
    "corpus", "detector", "variant", "other_detector", "other", "has_picture", "seeds", "posts",
    "f1", "other_f1", "difference", "low", "high", "p",
)  # fmt: skip
ABOUT = (
    "Lenient micro F1 on the test split in percent; the difference is the second system's minus the"
    " first's, in points, with its 99 % interval over posts and seeds."
)


class Compared(NamedTuple):
    """A system with its detector, on one corpus."""

    corpus: str
    detector: str
    variant: str


def compare(
    predictions: Iterable[str | Path], posts: Mapping[str, Sequence[CorpusPost]]
) -> pd.DataFrame:
    """Compare all pairs of systems of a corpus on lenient micro F1 of the test split.

    A pair is compared on the seeds that both have; a pair with none in common has no row.

    Args:
        predictions: files `.../{corpus}/{detector}/{variant}/seed{seed}/test.jsonl`.
        posts: the posts of each corpus.

    Returns:
        One row per pair, in the columns COLUMNS, and where one of the two reads images two more:
        for the posts with an image that it can use, and for those without. `difference` is F1 of
        `other` minus F1 of `variant`, in points; `low` and `high` are its 99 % interval over posts
        and seeds; `p` is for other posts and seeds. With one seed, the interval is over posts
        alone, and there is no `p`. `posts` is n.

    Raises:
        HamlearnError: a file is named differently, is malformed, or is of an unknown corpus.
    """
    counts: dict[Compared, dict[int, Counts]] = {}
    has_image: dict[Compared, NDArray[np.bool_]] = {}
    for path in map(Path, predictions):
        system, seed = _parse_path(path)
        if system.corpus not in posts:
            raise HamlearnError(
                f"{path}: found corpus {system.corpus!r}, expected one of {', '.join(posts)}"
            )
        test = [post for post in posts[system.corpus] if post.split == "test"]
        read = read_predictions(path, test)
        counts.setdefault(system, {})[seed] = count(test, [one.labels for one in read])
        has_image[system] = np.array([bool(one.has_image) for one in read])
    rows = []
    for one, other in combinations(counts, 2):
        seeds = sorted(counts[one].keys() & counts[other].keys())
        if one.corpus == other.corpus and seeds:
            mine, theirs = (np.stack([counts[key][seed] for seed in seeds]) for key in (one, other))
            seen = has_image[one] | has_image[other]
            groups = {ALL: np.ones_like(seen)}
            if seen.any():
                groups |= dict(zip(GROUPS[1:], (seen, ~seen), strict=True))
            names = one._asdict() | {"other_detector": other.detector, "other": other.variant}
            rows += [
                names | {"has_picture": group} | _gap(mine[:, members], theirs[:, members])
                for group, members in groups.items()
                if members.any()
            ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _gap(mine: Counts, theirs: Counts) -> dict[str, float]:
    gap = difference(mine, theirs)
    return {
        "seeds": mine.shape[0],
        "posts": mine.shape[1],
        "f1": 100 * mean_f1(mine),
        "other_f1": 100 * mean_f1(theirs),
        "difference": 100 * gap.value,
        "low": 100 * gap.low,
        "high": 100 * gap.high,
        "p": p_value(mine, theirs),
    }


def _parse_path(path: Path) -> tuple[Compared, int]:
    parts = path.parts[-5:-1]
    if len(parts) < 4 or not parts[3].removeprefix("seed").isdigit() or path.name != "test.jsonl":
        raise HamlearnError(
            f"{path}: expected a file CORPUS/DETECTOR/VARIANT/seedN/test.jsonl of predictions"
        )
    return Compared(*parts[:3]), int(parts[3].removeprefix("seed"))
