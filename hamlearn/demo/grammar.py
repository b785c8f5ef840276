"""The words of a post, and the best score that words alone can reach.

A sentence for a visual cue is drawn independently of the type, so it reveals which question the
image answers but not the answer. A sentence for the text cue is drawn for one type. `{x}` stands
for the name; tokens are separated by spaces.
"""

import json
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from hamlearn.demo.composition import CUES, DECISIONS, TYPES, probability

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
# The last names of each pool never occur in a training split.
WITHHELD = 8

# Texts before and after the sentence, with their probabilities; the empty one means none.
PREFIXES = {
    "": 0.52, "RT @user{n} :": 0.16, "@user{n}": 0.12, "Wow ,": 0.06, "Monday :": 0.04,
    "Honestly ,": 0.05, "Happy weekend !": 0.05,
}  # fmt: skip
SUFFIXES = {
    "": 0.4, "!": 0.12, "today": 0.1, "#weekend": 0.1, "lol": 0.08, "again": 0.08,
    "at last": 0.06, "#Sunday": 0.06,
}  # fmt: skip
HANDLES = 30

_SENTENCES = json.loads((Path(__file__).parent / "sentences.json").read_text(encoding="utf-8"))
# Question -> sentences that fit both of its types; type -> sentences that fit this type alone.
QUESTIONS: dict[str, list[str]] = _SENTENCES["questions"]
STATEMENTS: dict[str, list[str]] = _SENTENCES["statements"]


@dataclass(frozen=True)
class Sentence:
    """The words of one post and the span of its one entity."""

    words: tuple[str, ...]
    start: int
    end: int  # exclusive
    frame: str  # the sentence with `{x}` for the name, without prefix and suffix


def _names(pool: int) -> tuple[str, ...]:
    """Return every fourth name; every fourth of these has a second word."""
    names = []
    for n in range(PER_POOL):
        k = len(POOLS) * n + pool
        word = STARTS[k % len(STARTS)] + ENDS[(k // len(STARTS) + 7 * k) % len(ENDS)]
        names.append(f"{word} {SECONDS[n % len(SECONDS)]}" if n % 4 == 3 else word)
    return tuple(names)


# Each name of a pool can be of either of its two types.
NAMES = {pool: _names(number) for number, pool in enumerate(POOLS)}


def frames(cue: str, decision: str, kind: str) -> list[str]:
    """Return the equally likely sentences for a cue, a question and a type."""
    return STATEMENTS[kind] if cue == "text" else QUESTIONS[decision]


def _pick(rng: np.random.Generator, shares: dict[str, float]) -> str:
    return list(shares)[int(rng.choice(len(shares), p=list(shares.values())))]


def draw_sentence(
    rng: np.random.Generator, cue: str, decision: str, kind: str, pool: str, training: bool
) -> Sentence:
    """Draw the words of a post with an entity of type `kind`, its name from a pool.

    `decision` is the name of the question that the image answers. With `training`, the names
    withheld from training are left out.
    """
    choices = frames(cue, decision, kind)
    frame = choices[int(rng.integers(len(choices)))]
    prefix = _pick(rng, PREFIXES).replace("{n}", str(int(rng.integers(HANDLES))))
    suffix = _pick(rng, SUFFIXES)
    name = NAMES[pool][int(rng.integers(PER_POOL - WITHHELD if training else PER_POOL))].split(" ")
    words = [*prefix.split(), *frame.split(" "), *suffix.split()]
    start = words.index("{x}")
    words[start : start + 1] = name
    return Sentence(tuple(words), start, start + len(name), frame)


def text_ceiling() -> dict[str, float]:
    """Return the best expected F1 of any reader that sees only the words, by cue and "overall".

    Every post has one entity, whose span the words reveal. A reader who names the likelier type in
    each post predicts one entity per post, so precision, recall and F1 all equal its share of right
    types: the expectation of max_t P(t | words). Abstaining where both types are equally likely
    never pays: it gives up half a hit to save half a false alarm, and F1 = 2·hits / (predicted +
    gold) then falls. Prefix, suffix and name are independent of the type given the pool of names,
    so P(t | words) = P(t | frame, pool), computed by enumerating cue, question, type and frame.
    """
    joint: dict[tuple[str, str], dict[tuple[str, str], float]] = {}  # words -> (cue, type) -> P
    for cue, decision in product(CUES, DECISIONS):
        for kind in decision.types:
            choices = frames(cue, decision.name, kind)
            for frame in choices:
                odds = joint.setdefault((frame, decision.pool), {})
                share = probability(cue, decision) / 2 / len(choices)
                odds[cue, kind] = odds.get((cue, kind), 0.0) + share
    hits = dict.fromkeys(CUES, 0.0)
    for odds in joint.values():
        best = max(TYPES, key=lambda t: sum(p for (_, kind), p in odds.items() if kind == t))
        for cue in CUES:
            hits[cue] += odds.get((cue, best), 0.0)
    return {"overall": sum(hits.values())} | {cue: hits[cue] / CUES[cue] for cue in CUES}
