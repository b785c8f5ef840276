"""How much of a difference between two variants is the chance of posts and seeds.

A bootstrap interval says where a difference would lie with other posts and seeds; a paired
approximate randomisation test (Noreen 1989; Yeh 2000) says how often one as large would come about
if it did not matter which of the two systems a post's labels are from.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hamlearn.corpus.labels import entities
from hamlearn.corpus.posts import CorpusPost
from hamlearn.evaluation.cues import of_cue
from hamlearn.evaluation.evaluate import ALL

DRAWS = 2000
SHUFFLES = 10_000
LEVEL = 0.99  # one report makes a score of comparisons; at .95 one of them would be wrong by chance

_AT_ONCE = 500  # shuffles held in memory

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Interval:
    """A number measured on the test split, and where it would lie with other posts and seeds."""

    value: float
    low: float
    high: float

    @property
    def negative(self) -> bool:
        """Whether the whole interval is below 0."""
        return self.high < 0

    @property
    def positive(self) -> bool:
        """Whether the whole interval is above 0."""
        return self.low > 0


def count(
    posts: Sequence[CorpusPost], predicted: Sequence[Sequence[str]], cue: str = ALL
) -> Counts:
    """Count lenient entities post by post.

    Args:
        posts: P posts with gold labels.
        predicted: the labels of each.
        cue: a cue, or `all`.

    Returns:
        (P, 3): entities that are right, predicted, and gold.
    """
    rows = []
    for post, labels in zip(posts, predicted, strict=True):
        right, found = (
            set(entities(some if cue == ALL else of_cue(post, some, cue)))
            for some in (post.labels, labels)
        )
        rows.append((len(right & found), len(found), len(right)))
    return np.array(rows, dtype=np.int64).reshape(-1, 3)


def level(counts: Counts, seed: int = 0) -> Interval:
    """Return F1, mean over seeds, with its bootstrap interval.

    Args:
        counts: (S, P, 3) of S seeds, as `count` gives them.
        seed: of the draws.
    """
    return _interval(counts, np.zeros_like(counts), seed)


def difference(base: Counts, other: Counts, seed: int = 0) -> Interval:
    """Return F1 of `other` less F1 of `base`, mean over seeds, with its bootstrap interval.

    The same posts, and of several seeds the same seeds, are drawn with replacement for both.

    Args:
        base: (S, P, 3) of S seeds, as `count` gives them.
        other: (S, P, 3) of the same seeds and posts.
        seed: of the draws.
    """
    return _interval(other, base, seed)


def p_value(base: Counts, other: Counts, seed: int = 0) -> float:
    """Return the two-sided p of F1(other) = F1(base), by paired approximate randomisation.

    p = (1 + #{shuffles with |gap| >= the one seen}) / (1 + SHUFFLES). A shuffle swaps what the two
    systems say of a post, in all seeds together, for half of the posts on average: seeds of one
    post are not independent of each other.

    Args:
        base: (S, P, 3) of S seeds, as `count` gives them.
        other: (S, P, 3) of the same seeds and posts.
        seed: of the shuffles.
    """
    rng = np.random.default_rng([seed, 2])
    seen = abs(mean_f1(other) - mean_f1(base)) - 1e-12  # equal gaps are equal, however rounded
    posts = base.shape[1]
    reached = 0
    for start in range(0, SHUFFLES, _AT_ONCE):
        swapped = rng.integers(2, size=(min(_AT_ONCE, SHUFFLES - start), posts))
        moved = _drawn(swapped.astype(np.float64), other - base)  # (_AT_ONCE, S, 3)
        gaps = f1(other.sum(axis=1) - moved) - f1(base.sum(axis=1) + moved)  # (_AT_ONCE, S)
        reached += int((abs(gaps.mean(axis=1)) >= seen).sum())
    return (1 + reached) / (1 + SHUFFLES)


def mean_f1(counts: Counts) -> float:
    """Return F1, mean over seeds, of counts (S, P, 3)."""
    return float(f1(counts.sum(axis=1)).mean())


def f1(counts: NDArray[np.float64] | Counts) -> NDArray[np.float64]:
    """Return F1 of counts (..., 3), 0 where there is nothing to find and nothing found."""
    total = counts[..., 1] + counts[..., 2]
    return np.divide(2 * counts[..., 0], total, out=np.zeros(total.shape), where=total > 0)


def _interval(plus: Counts, minus: Counts, seed: int) -> Interval:
    """Bootstrap the mean over seeds of F1(plus) - F1(minus): percentiles over DRAWS draws."""
    seeds, posts, _ = plus.shape
    value = mean_f1(plus) - mean_f1(minus)
    weights = _weights(posts, seed)
    gaps = f1(_drawn(weights, plus)) - f1(_drawn(weights, minus))  # (DRAWS, S)
    chosen = np.random.default_rng([seed, 1]).integers(seeds, size=(DRAWS, seeds))
    means = np.take_along_axis(gaps, chosen, axis=1).mean(axis=1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high))


@lru_cache(maxsize=1)
def _weights(posts: int, seed: int) -> NDArray[np.float64]:
    """Return how often each of P posts is drawn (DRAWS, P)."""
    rng = np.random.default_rng([seed, 0])
    return rng.multinomial(posts, np.full(posts, 1 / posts), size=DRAWS).astype(np.float64)


def _drawn(weights: NDArray[np.float64], counts: Counts) -> NDArray[np.float64]:
    """Return the counts (DRAWS, S, 3) of each drawing of posts."""
    seeds, posts, kinds = counts.shape
    flat = counts.transpose(1, 0, 2).reshape(posts, seeds * kinds)  # (P, S * 3)
    return (weights @ flat).reshape(-1, seeds, kinds)
