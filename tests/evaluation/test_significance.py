from collections.abc import Sequence
from itertools import product

import numpy as np
import pytest

from hamlearn.evaluation.significance import difference, level, mean_f1, p_value


def slow_f1(rows: Sequence[Sequence[int]]) -> float:
    right, found, gold = (sum(row[k] for row in rows) for k in range(3))
    return 2 * right / (found + gold) if found + gold else 0.0


def slow_gaps(base: np.ndarray, other: np.ndarray, draws: int) -> list[float]:
    """Draw posts and seeds one by one, by another generator."""
    rng = np.random.default_rng(987)
    seeds, posts, _ = base.shape
    gaps = []
    for _ in range(draws):
        of_posts = [int(rng.integers(posts)) for _ in range(posts)]
        of_seeds = [int(rng.integers(seeds)) for _ in range(seeds)]
        each = [
            slow_f1([other[s, p] for p in of_posts]) - slow_f1([base[s, p] for p in of_posts])
            for s in of_seeds
        ]
        gaps.append(sum(each) / len(each))
    return gaps


def some_counts(seeds: int, posts: int, share: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    gold = rng.integers(1, 3, size=(1, posts)).repeat(seeds, axis=0)
    right = rng.binomial(gold, share)
    return np.stack([right, right + rng.integers(0, 2, size=gold.shape), gold], axis=-1)


@pytest.mark.parametrize("seeds", [1, 3])
def test_interval_is_that_of_drawing_one_by_one(seeds: int) -> None:
    base, other = some_counts(seeds, 40, 0.8), some_counts(seeds, 40, 0.3, seed=1)
    found = difference(base, other)
    gaps = slow_gaps(base, other, 800)
    rows = zip(base, other, strict=True)
    value = np.mean([slow_f1(theirs) - slow_f1(ours) for ours, theirs in rows])
    assert found.value == pytest.approx(value)
    spread = float(np.std(gaps))
    assert found.low == pytest.approx(np.quantile(gaps, 0.005), abs=0.6 * spread)
    assert found.high == pytest.approx(np.quantile(gaps, 0.995), abs=0.6 * spread)
    assert found.excludes_zero


def test_equal_predictions_differ_by_nothing() -> None:
    counts = some_counts(2, 30, 0.7)
    found = difference(counts, counts)
    assert (found.value, found.low, found.high) == (0, 0, 0)
    assert not found.excludes_zero


def test_equal_variants_seldom_differ_significantly() -> None:
    significant = 0
    for seed in range(60):
        base, other = some_counts(1, 200, 0.8, 2 * seed), some_counts(1, 200, 0.8, 2 * seed + 1)
        gap = difference(base, other)
        significant += gap.excludes_zero
    assert significant <= 4


def test_level_holds_its_value() -> None:
    found = level(some_counts(1, 60, 0.7))
    assert found.low < found.value < found.high


def test_no_entities_score_zero() -> None:
    assert mean_f1(np.zeros((1, 5, 3), dtype=int)) == 0


def p_of_all_swaps(base: np.ndarray, other: np.ndarray) -> float:
    """Try every way of swapping posts."""
    seeds, posts, _ = base.shape

    def gap(swapped: Sequence[int]) -> float:
        each = []
        for s in range(seeds):
            ours = [(other if swapped[p] else base)[s, p] for p in range(posts)]
            theirs = [(base if swapped[p] else other)[s, p] for p in range(posts)]
            each.append(slow_f1(theirs) - slow_f1(ours))
        return sum(each) / seeds

    seen = abs(gap([0] * posts))
    ways = list(product((0, 1), repeat=posts))
    return sum(abs(gap(way)) >= seen - 1e-12 for way in ways) / len(ways)


@pytest.mark.parametrize(("seeds", "share"), [(1, 0.75), (2, 0.6), (1, 0.3)])
def test_p_is_that_of_all_swaps(seeds: int, share: float) -> None:
    base, other = some_counts(seeds, 9, 0.8), some_counts(seeds, 9, share, seed=1)
    expected = p_of_all_swaps(base, other)
    assert p_value(base, other) == pytest.approx(expected, abs=4 * (0.25 / 10_000) ** 0.5)


def test_p_of_equal_systems_is_one_and_of_unlike_ones_is_small() -> None:
    base = some_counts(1, 200, 0.9)
    assert p_value(base, base) == 1
    assert p_value(base, some_counts(1, 200, 0.2, seed=1)) == pytest.approx(1 / 10_001)
