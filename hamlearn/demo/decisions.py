"""What decides the type of an ambiguous name: the eight questions that a picture can answer."""

from dataclasses import dataclass

import numpy as np

TYPES = ("PER", "LOC", "ORG", "MISC")
# cue -> its share of all posts; where the words decide, the picture would say otherwise.
CUES = {"scene": 0.2, "object": 0.2, "relation": 4 / 15, "text": 1 / 3}


@dataclass(frozen=True)
class Decision:
    """One question with two answers, each of them a type.

    Attributes:
        name: of the question.
        cue: where the answer lies: "scene", "object" or "relation".
        readings: the two answers as the picture gives them.
        types: the entity types that they stand for, in the same order.
        share: of the posts of its cue.
        kinds: the objects that the question is about, never drawn as by-standers. For a relation,
            they are drawn under both readings, and a reading says how the first lies to the second.
    """

    name: str
    cue: str
    readings: tuple[str, str]
    types: tuple[str, str]
    share: float
    kinds: tuple[str, ...] = ()

    @property
    def pool(self) -> str:
        """Name the stock of names that can be either type."""
        return "/".join(sorted(self.types))

    def reading_of(self, kind: str) -> str:
        """Return the reading that stands for an entity type."""
        return self.readings[self.types.index(kind)]


# A detector's box features show what lies within a box: a small probe on them tells inside and
# overlap nearly always, without any geometry, and above from below 6 times in 10. So these two
# questions, which a model without relations can learn, are the smaller part of the relation posts.
DECISIONS = (
    Decision("stadium_or_ice", "scene", ("stadium", "ice"), ("ORG", "MISC"), 0.5),
    Decision("stage_or_beach", "scene", ("stage", "beach"), ("PER", "LOC"), 0.5),
    Decision("person_or_dog", "object", ("person", "dog"), ("PER", "MISC"), 0.5, ("person", "dog")),
    Decision("car_or_boat", "object", ("car", "boat"), ("ORG", "LOC"), 0.5, ("car", "boat")),
    Decision(
        "guitar_and_cup", "relation", ("left", "right"), ("PER", "LOC"), 0.375, ("guitar", "cup")
    ),
    Decision(
        "kite_and_balloon", "relation", ("above", "below"), ("ORG", "MISC"), 0.375,
        ("kite", "balloon"),
    ),
    Decision(
        "ball_and_crate", "relation", ("inside", "beside"), ("ORG", "LOC"), 0.125, ("ball", "crate")
    ),
    Decision(
        "hoop_and_flower", "relation", ("overlap", "beside"), ("PER", "MISC"), 0.125,
        ("hoop", "flower"),
    ),
)  # fmt: skip


def probability(cue: str, decision: Decision) -> float:
    """Return the share of posts whose type `cue` decides and whose picture answers `decision`."""
    if cue == "text":
        visual = 1 - CUES["text"]
        return CUES["text"] * CUES[decision.cue] / visual * decision.share
    return CUES[cue] * decision.share if cue == decision.cue else 0.0


def draw_decision(rng: np.random.Generator, cue: str) -> Decision:
    """Draw a question: of the cue's own, or for "text" of all, as often as pictures ask them."""
    shares = np.array([probability(cue, decision) for decision in DECISIONS])
    return DECISIONS[int(rng.choice(len(DECISIONS), p=shares / shares.sum()))]
