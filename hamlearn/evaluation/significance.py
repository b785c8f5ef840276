"""How much of a difference between two systems is due to the chance of posts and of training.

Every system is trained with S seeds and tested on the same P posts. By the delta method, F1 of run
s is the mean over posts of shares x_sp, so that the mean of a table of them is the F1 of a system:

    x_sp = F_s + P (2 c_sp - F_s (p_sp + g_sp)) / Σ_p (p_sp + g_sp)

with F_s the F1 of the run, and c, p and g the entities that are correct, predicted and gold. Seeds
and posts are both drawn by chance, each for all of the other. The variance of a difference d of two
such means is that of this two-way layout (Searle, Casella and McCulloch 1992, chapter 4):

    V = V_posts + max(0, V_seeds - V_both)

V_posts is the variance of the mean of d_p over posts, where d_p is the difference at post p, mean
over seeds; V_seeds the sum over both systems of the variance of the mean of F_s over seeds. Each of
the two contains the chance V_both of a seed at a post once. d / √V follows Student's t with the
degrees of freedom of Satterthwaite (1946), in which V_seeds has 2 (S - 1): the chance of training
is taken to be as large in both systems. A hierarchical bootstrap, which draws seeds and posts
with replacement, takes V_seeds (S - 1) / S in place of V_seeds, too little for few seeds, does not
know that it is uncertain, and counts V_both twice.

With one seed, V_seeds is unknown. V_posts alone then says how the two models that were trained
differ on other posts, not how the two systems do.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hamlearn.corpus.labels import entities
from hamlearn.corpus.posts import CorpusPost
from hamlearn.evaluation.cues import of_cue
from hamlearn.evaluation.scores import ALL

LEVEL = 0.99  # a report makes some 20 comparisons; at .95 one of them would be wrong by chance

_DRAWS = 100_000  # of Student's t, which NumPy draws and does not integrate

Counts = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Interval:
    """A number measured on the test split, and its interval over posts and, if several, seeds."""

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
    """Return F1 of counts (S, P, 3), mean over S seeds, with its interval."""
    shares = _shares(counts)
    return _interval(mean_f1(counts), shares.mean(axis=0), [shares])


def difference(base: Counts, other: Counts, same_models: bool = False) -> Interval:
    """Return F1 of `other` minus F1 of `base`, mean over seeds, with its interval.

    Args:
        base: counts (S, P, 3).
        other: counts (S, P, 3) of the same seeds and posts.
        same_models: both are predictions of the same S models, as for posts with and without their
            images; otherwise the chance of training is taken as independent.
    """
    return _interval(mean_f1(other) - mean_f1(base), *_tables(base, other, same_models))


def p_value(base: Counts, other: Counts, same_models: bool = False) -> float:
    """Return the two-sided p of F1(other) = F1(base), for other seeds and other posts.

    It is not a number for one seed, of which no statement on two systems follows, unless both are
    predictions of the `same_models`: then p is for other posts and these models. Arguments are
    those of `difference`.
    """
    gap = mean_f1(other) - mean_f1(base)
    if len(base) == 1 and not same_models:
        return float("nan")
    error, draws = _error(*_tables(base, other, same_models))
    if error == 0:
        return float(gap == 0)
    return (1 + int((abs(draws) >= abs(gap) / error).sum())) / (1 + _DRAWS)


def mean_f1(counts: Counts) -> float:
    """Return F1, mean over seeds, of counts (S, P, 3)."""
    return float(f1(counts.sum(axis=1)).mean())


def f1(counts: Floats | Counts) -> Floats:
    """Return F1 of counts (..., 3), 0 where nothing is gold and nothing predicted."""
    total = counts[..., 1] + counts[..., 2]
    return np.divide(2 * counts[..., 0], total, out=np.zeros(total.shape), where=total > 0)


def _shares(counts: Counts) -> Floats:
    """Return x (S, P) of counts (S, P, 3); the mean over posts is F1."""
    total = counts.sum(axis=1, keepdims=True)  # (S, 1, 3)
    score, entities_of_run = f1(total), total[..., 1] + total[..., 2]  # (S, 1)
    own = counts.shape[1] * (2 * counts[..., 0] - score * (counts[..., 1] + counts[..., 2]))
    return score + own / np.maximum(entities_of_run, 1)


def _tables(base: Counts, other: Counts, same_models: bool) -> tuple[Floats, list[Floats]]:
    """Return d_p (P,), and a table (S, P) for each group of seeds with a chance of its own."""
    before, after = _shares(base), _shares(other)
    gaps = after - before
    return gaps.mean(axis=0), [gaps] if same_models else [before, after]


def _error(by_post: Floats, tables: Sequence[Floats]) -> tuple[float, Floats]:
    """Return √V and draws of Student's t with its degrees of freedom.

    Args:
        by_post: the number at each post, mean over seeds (P,).
        tables: (S, P) each, of seeds that are independent of those of the others.
    """
    seeds, posts = tables[0].shape
    of_posts = by_post.var(ddof=1) / posts if posts > 1 else 0.0
    freedom = [(of_posts, posts - 1)]
    of_seeds = of_both = 0.0
    if seeds > 1:
        for table in tables:
            rest = table - table.mean(axis=1, keepdims=True) - table.mean(axis=0) + table.mean()
            of_seeds += table.mean(axis=1).var(ddof=1) / seeds
            of_both += (rest**2).sum() / ((seeds - 1) * max(posts - 1, 1)) / (seeds * posts)
        freedom.append((of_seeds, len(tables) * (seeds - 1)))
    variance = of_posts + max(0.0, of_seeds - of_both)
    if variance == 0:
        return 0.0, np.zeros(_DRAWS)
    parts = sum(own**2 / degrees for own, degrees in freedom if own > 0)
    draws = np.random.default_rng(0).standard_t(variance**2 / parts, size=_DRAWS)
    return float(np.sqrt(variance)), draws


def _interval(value: float, by_post: Floats, tables: Sequence[Floats]) -> Interval:
    error, draws = _error(by_post, tables)
    margin = error * float(np.quantile(abs(draws), LEVEL))
    return Interval(value, value - margin, value + margin)
