from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from hamlearn.evaluation import significance
from hamlearn.evaluation.significance import difference, level, mean_f1, p_value
from tests.evaluation.simulated import rates, simulate


def slow_f1(rows: Sequence[Sequence[int]]) -> float:
    right, found, gold = (sum(row[k] for row in rows) for k in range(3))
    return 2 * right / (found + gold) if found + gold else 0.0


def slow_gaps(
    base: np.ndarray, other: np.ndarray, draws: int, same_models: bool = False
) -> list[float]:
    """Draw posts, and seeds of each system, one by one: a hierarchical bootstrap."""
    rng = np.random.default_rng(987)
    seeds, posts, _ = base.shape
    gaps = []
    for _ in range(draws):
        of_posts = [int(rng.integers(posts)) for _ in range(posts)]
        of_base = [int(rng.integers(seeds)) for _ in range(seeds)]
        of_other = of_base if same_models else [int(rng.integers(seeds)) for _ in range(seeds)]
        before = [slow_f1([base[s, p] for p in of_posts]) for s in of_base]
        after = [slow_f1([other[s, p] for p in of_posts]) for s in of_other]
        gaps.append(sum(after) / seeds - sum(before) / seeds)
    return gaps


def some_counts(seeds: int, posts: int, share: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    gold = rng.integers(1, 3, size=(1, posts)).repeat(seeds, axis=0)
    right = rng.binomial(gold, share)
    return np.stack([right, right + rng.integers(0, 2, size=gold.shape), gold], axis=-1)


@pytest.mark.parametrize(("seeds", "same_models"), [(1, False), (20, False), (20, True)])
def test_interval_is_near_that_of_drawing_one_by_one(seeds: int, same_models: bool) -> None:
    """Drawing counts the chance of a seed at a post twice, which is little in these cases."""
    rng = np.random.default_rng(5)
    base, other = simulate(rng, seeds, 50, chance=0.05, gap=-0.2)
    if same_models:
        other[..., :2] = np.minimum(base[..., :2], other[..., :2])
    gaps = slow_gaps(base, other, 1000, same_models)
    found = difference(base, other, same_models)
    rows = zip(base, other, strict=True)
    assert found.value == pytest.approx(np.mean([slow_f1(b) - slow_f1(a) for a, b in rows]))
    width = float(np.std(gaps)) * 2.576  # of a normal distribution
    assert found.high - found.value == pytest.approx(width, rel=0.15)
    assert found.value - found.low == pytest.approx(width, rel=0.15)


def slow_variance(base: np.ndarray, other: np.ndarray) -> tuple[float, float]:
    """Return V and its degrees of freedom by the sums of squares of the two-way layout."""
    seeds, posts, _ = base.shape
    tables = []
    for counts in (base, other):
        table = [[0.0] * posts for _ in range(seeds)]
        for s in range(seeds):
            score = slow_f1(counts[s])
            size = sum(int(row[1] + row[2]) for row in counts[s])
            for p in range(posts):
                right, found, gold = map(int, counts[s, p])
                table[s][p] = score + posts * (2 * right - score * (found + gold)) / size
        tables.append(table)
    gap = [sum(tables[1][s][p] - tables[0][s][p] for s in range(seeds)) for p in range(posts)]
    gap = [one / seeds for one in gap]
    of_posts = sum((one - sum(gap) / posts) ** 2 for one in gap) / (posts - 1) / posts
    squares, of_seeds, of_both = of_posts**2 / (posts - 1), 0.0, 0.0
    for table in tables:
        means = [sum(row) / posts for row in table]
        of_post = [sum(table[s][p] for s in range(seeds)) / seeds for p in range(posts)]
        mean = sum(means) / seeds
        own = sum((one - mean) ** 2 for one in means) / (seeds - 1) / seeds
        rest = sum(
            (table[s][p] - means[s] - of_post[p] + mean) ** 2
            for s in range(seeds)
            for p in range(posts)
        )
        of_seeds += own
        of_both += rest / ((seeds - 1) * (posts - 1)) / (seeds * posts)
    squares += of_seeds**2 / (2 * (seeds - 1))
    variance = of_posts + max(0.0, of_seeds - of_both)
    return variance, variance**2 / squares


@pytest.mark.parametrize(("seeds", "chance"), [(3, 0.0), (3, 0.05), (5, 0.02)])
def test_interval_and_p_are_those_of_the_sums_of_squares(seeds: int, chance: float) -> None:
    base, other = simulate(np.random.default_rng(seeds), seeds, 40, chance, gap=0.1)
    variance, freedom = slow_variance(base, other)
    found = difference(base, other)
    student = stats.t(freedom)
    margin = student.ppf(0.995) * variance**0.5
    assert found.high - found.value == pytest.approx(margin, rel=0.03)  # of 100,000 draws
    assert found.value - found.low == pytest.approx(found.high - found.value)
    expected = 2 * student.sf(abs(found.value) / variance**0.5)
    assert p_value(base, other) == pytest.approx(expected, abs=0.005)


@pytest.mark.parametrize(("seeds", "chance"), [(3, 0.0), (3, 0.01), (5, 0.01)])
def test_equal_systems_seldom_differ_although_seeds_do(
    seeds: int, chance: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(significance, "_DRAWS", 4000)
    significant, held = rates(300, seeds, 600, chance)
    assert significant <= 0.06
    assert held >= 0.98


def test_a_difference_of_systems_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(significance, "_DRAWS", 4000)
    assert rates(100, 3, 900, chance=0.005, gap=0.05)[0] > 0.8


def test_one_seed_tells_of_its_models_only() -> None:
    base, other = simulate(np.random.default_rng(0), 1, 400, chance=0.0, gap=0.3)
    assert difference(base, other).excludes_zero
    assert np.isnan(p_value(base, other))
    assert p_value(base, other, same_models=True) < 0.001


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


@pytest.mark.parametrize("seeds", [1, 2])
def test_p_of_equal_systems_is_one_and_of_unlike_ones_is_small(seeds: int) -> None:
    base = some_counts(seeds, 200, 0.9)
    assert p_value(base, base, same_models=True) == 1
    worse = some_counts(seeds, 200, 0.2, seed=1)
    assert p_value(base, worse, same_models=True) < 0.001


def test_no_chance_is_seen_where_all_posts_are_alike() -> None:
    wrong, right = np.array([[[0, 1, 1]] * 9] * 2), np.array([[[1, 1, 1]] * 9] * 2)
    found = difference(wrong, right)
    assert (found.value, found.low, found.high) == (1, 1, 1)
    assert p_value(wrong, right) == 0
    assert p_value(right[:, :1], right[:, :1]) == 1
