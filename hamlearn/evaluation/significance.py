"""How much of a difference between two systems is due to the chance of posts and seeds.

A bootstrap interval shows where a difference would lie with other posts and seeds; a paired
approximate randomization test (Noreen 1989; Yeh 2000) estimates how often one as large would occur
if it did not matter which of the two systems a post's labels come from.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hamlearn.corpus.labels import entities
from hamlearn.corpus.posts import CorpusPost
from hamlearn.evaluation.cues import of_cue
from hamlearn.evaluation.scores import ALL

DRAWS = 2000
SHUFFLES = 10_000
SEED = 0
LEVEL = 0.99  # a report makes some 20 comparisons; at .95 one of them would be wrong by chance

_AT_ONCE = 500  # shuffles in memory

Counts = NDArray[np.int64]


@dataclass(frozen=True)
class Interval:
    """A number measured on the test split, and its bootstrap interval."""

    value: float
    low: float
    high: float

    @property
    def excludes_zero(self) -> bool:
        """Whether the whole interval is below or above 0."""
        return self.high < 0 or self.low > 0


def count(
    posts: Sequence[CorpusPost], predicted: Sequence[Sequence[str]], cue: str = ALL
) -> Counts:
    """Count the lenient entities of each of P posts, of one cue or all.

    Returns:
        (P, 3): entities that are correct, predicted, and gold.
    """
    rows = []
    for post, labels in zip(posts, predicted, strict=True):
        gold, found = (
            set(entities(some if cue == ALL else of_cue(post, some, cue)))
            for some in (post.labels, labels)
        )
        rows.append((len(gold & found), len(found), len(gold)))
    return np.array(rows, dtype=np.int64).reshape(-1, 3)


def level(counts: Counts) -> Interval:
    """Return F1 of counts (S, P, 3), mean over S seeds, with its bootstrap interval."""
    return _interval(counts, np.zeros_like(counts))


def difference(base: Counts, other: Counts) -> Interval:
    """Return F1 of `other` minus F1 of `base`, mean over seeds, with its bootstrap interval.

    Both are counts (S, P, 3) of the same seeds and posts, which are drawn with replacement for both
    together.
    """
    return _interval(other, base)


def p_value(base: Counts, other: Counts) -> float:
    """Return the two-sided p of F1(other) = F1(base), by paired approximate randomization.

    p = (1 + #{shuffles with |gap| >= the observed one}) / (1 + SHUFFLES). A shuffle swaps the
    predictions of the two systems for half of the posts on average, in all seeds together, since
    the seeds of one post are not independent. Counts are (S, P, 3) of the same seeds and posts.
    """
    rng = np.random.default_rng([SEED, 2])
    observed = abs(mean_f1(other) - mean_f1(base)) - 1e-12  # tolerates rounding of equal gaps
    posts = base.shape[1]
    reached = 0
    for start in range(0, SHUFFLES, _AT_ONCE):
        swapped = rng.integers(2, size=(min(_AT_ONCE, SHUFFLES - start), posts))
        moved = _weighted(swapped.astype(np.float64), other - base)  # (_AT_ONCE, S, 3)
        gaps = f1(other.sum(axis=1) - moved) - f1(base.sum(axis=1) + moved)  # (_AT_ONCE, S)
        reached += int((abs(gaps.mean(axis=1)) >= observed).sum())
    return (1 + reached) / (1 + SHUFFLES)


def mean_f1(counts: Counts) -> float:
    """Return F1, mean over seeds, of counts (S, P, 3)."""
    return float(f1(counts.sum(axis=1)).mean())


def f1(counts: NDArray[np.float64] | Counts) -> NDArray[np.float64]:
    """Return F1 of counts (..., 3), 0 where nothing is gold and nothing predicted."""
    total = counts[..., 1] + counts[..., 2]
    return np.divide(2 * counts[..., 0], total, out=np.zeros(total.shape), where=total > 0)


def _interval(plus: Counts, minus: Counts) -> Interval:
    """Bootstrap the mean over seeds of F1(plus) - F1(minus): percentiles over DRAWS draws."""
    seeds, posts, _ = plus.shape
    value = mean_f1(plus) - mean_f1(minus)
    weights = _weights(posts)
    gaps = f1(_weighted(weights, plus)) - f1(_weighted(weights, minus))  # (DRAWS, S)
    chosen = np.random.default_rng([SEED, 1]).integers(seeds, size=(DRAWS, seeds))
    means = np.take_along_axis(gaps, chosen, axis=1).mean(axis=1)
    low, high = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(value, float(low), float(high))


@lru_cache(maxsize=1)
def _weights(posts: int) -> NDArray[np.float64]:
    """Return how often each of P posts is drawn (DRAWS, P)."""
    rng = np.random.default_rng([SEED, 0])
    return rng.multinomial(posts, np.full(posts, 1 / posts), size=DRAWS).astype(np.float64)


def _weighted(weights: NDArray[np.float64], counts: Counts) -> NDArray[np.float64]:
    """Return the summed counts (DRAWS, S, 3) under weights of posts (DRAWS, P)."""
    seeds, posts, kinds = counts.shape
    flat = counts.transpose(1, 0, 2).reshape(posts, seeds * kinds)  # (P, S * 3)
    return (weights @ flat).reshape(-1, seeds, kinds)
