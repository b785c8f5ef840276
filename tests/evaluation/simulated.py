"""Simulated systems whose true difference is known, with the chance of posts and of training.

The logit of finding an entity is the sum of what the post, the system at this post, the run (a
system with a seed), and the run at this post add. The chance of a run is the standard deviation of
its F1 over seeds on an endless test split, 0.5 to 1 points for the encoders of docs/experiments.md.

`python -m tests.evaluation.simulated` prints the table of docs/experiments.md in some minutes.
"""

import numpy as np

from hamlearn.evaluation.significance import Counts, difference, p_value

POINTS = 0.135  # change of F1 by the logit, near the F1 of 0.74 that these numbers give


def simulate(
    rng: np.random.Generator, seeds: int, posts: int, chance: float, gap: float = 0.0
) -> tuple[Counts, Counts]:
    """Return the counts (S, P, 3) of two systems.

    Args:
        rng: of everything that is drawn.
        seeds: S.
        posts: P.
        chance: standard deviation of F1 over seeds.
        gap: true F1 of the second system minus that of the first.
    """
    gold, of_post = 1 + rng.poisson(0.3, posts), rng.normal(1.4, 1.5, posts)
    systems = []
    for better in (0.0, gap / POINTS):
        of_system = of_post + rng.normal(0, 0.5, posts) + better
        runs = []
        for _ in range(seeds):
            logit = of_system + rng.normal(0, chance / POINTS) + rng.normal(0, 0.7, posts)
            correct = rng.binomial(gold, 1 / (1 + np.exp(-logit)))
            wrong = rng.binomial(gold - correct, 0.6) + rng.binomial(1, 0.06, posts)
            runs.append(np.stack([correct, correct + wrong, gold], axis=-1))
        systems.append(np.stack(runs))
    return systems[0], systems[1]


def rates(
    trials: int, seeds: int, posts: int, chance: float, gap: float = 0.0
) -> tuple[float, float]:
    """Return how often p is below .05, and how often the 99 % interval holds the true gap."""
    rng = np.random.default_rng([seeds, posts, round(1e4 * chance), round(1e4 * gap)])
    pairs = [simulate(rng, seeds, posts, chance, gap) for _ in range(trials)]
    intervals = [difference(*pair) for pair in pairs]
    held = np.mean([found.low <= gap <= found.high for found in intervals])
    return float(np.mean([p_value(*pair) < 0.05 for pair in pairs])), float(held)


def main() -> None:
    """Print false positives and power."""
    for posts in (900, 3000):
        for chance in (0.0, 0.005, 0.01):
            for seeds in (1, 3, 5):
                wrong, held = rates(1000, seeds, posts, chance)
                power = [rates(300, seeds, posts, chance, gap)[0] for gap in (0.02, 0.04)]
                print(posts, chance, seeds, wrong, held, *power, flush=True)


if __name__ == "__main__":
    main()
