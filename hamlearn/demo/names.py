"""Made-up names: four stocks of sixty, each name of a stock being either of two types."""

import numpy as np

STARTS = (
    "Al", "Bel", "Cor", "Dar", "El", "Fen", "Gal", "Hal", "Is", "Jor", "Kel", "Lor",
    "Mar", "Nor", "Or", "Pel", "Quin", "Ros", "Sel", "Tor", "Ul", "Ver", "Wil", "Yar",
)  # fmt: skip
ENDS = (
    "ano", "bria", "cott", "dine", "esta", "frey", "gate", "holm", "ila", "jeva",
    "kara", "lund", "mira", "nessa", "oria", "pelle", "rune", "sby", "tova", "vane",
)  # fmt: skip
SECONDS = ("Vale", "Rey", "Bright", "North", "Silva", "Stone")
POOLS = ("MISC/PER", "MISC/ORG", "LOC/PER", "LOC/ORG")
PER_POOL = 60
# The last names of each stock never occur in a training split.
WITHHELD = 8


def _single(k: int) -> str:
    return STARTS[k % len(STARTS)] + ENDS[(k // len(STARTS) + 7 * k) % len(ENDS)]


def _make(pool: int) -> tuple[str, ...]:
    """Take every fourth name; every fourth of those has a second word."""
    names = []
    for k in range(PER_POOL):
        word = _single(len(POOLS) * k + pool)
        names.append(f"{word} {SECONDS[k % len(SECONDS)]}" if k % 4 == 3 else word)
    return tuple(names)


NAMES = {pool: _make(number) for number, pool in enumerate(POOLS)}


def draw_name(rng: np.random.Generator, pool: str, training: bool) -> str:
    """Draw a name of a stock, all equally often; in training the withheld ones never."""
    return NAMES[pool][int(rng.integers(PER_POOL - WITHHELD if training else PER_POOL))]
