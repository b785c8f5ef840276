"""The demo corpus on disk: CoNLL text, drawn images, and what decides the type of each entity."""

import json
import logging
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hamlearn.demo.composition import (
    CUES,
    Composition,
    Decision,
    compose,
    draw_decision,
    jpeg_bytes,
    render,
)
from hamlearn.demo.grammar import Sentence, draw_sentence, text_ceiling
from hamlearn.demo.scenes import SCENES
from hamlearn.outputs import CORPUS, atomic_folder

log = logging.getLogger(__name__)
# Split -> its file and its share of the posts.
SPLITS = {"train": ("train.txt", 2000), "dev": ("valid.txt", 600), "test": ("test.txt", 900)}
TOTAL = sum(share for _, share in SPLITS.values())
# First word of every seed here; the training data of the vision weights uses another.
STREAM = 11
# Images answer the question of their post, or of another one, or of theirs in every second post.
PICTURES = ("cues", "noise", "mixed")
RELEVANCE = "relevance"  # the cue of all posts with mixed images


@dataclass(frozen=True)
class DemoPost:
    """One post before it is written."""

    id: str  # the IMGID
    cue: str  # what decides the type of its entity
    relevant: bool  # whether the image has a say in that
    decision: Decision  # the question that its image answers
    reading: str  # the answer drawn; for the text cue, that of the wrong type
    kind: str  # the true type of the entity
    sentence: Sentence
    composition: Composition

    def conll(self) -> str:
        """Return the post as CoNLL text, ending in a blank line."""
        start, end = self.sentence.start, self.sentence.end
        labels = ["O"] * len(self.sentence.words)
        labels[start:end] = [f"B-{self.kind}", *[f"I-{self.kind}"] * (end - start - 1)]
        pairs = zip(self.sentence.words, labels, strict=True)
        return f"IMGID:{self.id}\n" + "".join(f"{word}\t{label}\n" for word, label in pairs) + "\n"

    def manifest(self, split: str) -> dict[str, Any]:
        """Return the post's line of the manifest."""
        entity = {"start": self.sentence.start, "end": self.sentence.end}
        return {
            "id": self.id,
            "split": split,
            "cue": self.cue,
            "decision": self.decision.name,
            "reading": self.reading,
            "entities": [{**entity, "type": self.kind, "cue": self.cue}],
            "scene": self.composition.scene,
            "objects": [
                {"class": kind, "box": list(box)} for kind, box in self.composition.objects
            ],
            "relevant": self.relevant,
            "width": self.composition.width,
            "height": self.composition.height,
        }


def draw_post(
    seed: int, split: str, number: int, pictures: str = "cues"
) -> tuple[DemoPost, np.random.Generator]:
    """Draw the post with this number in its split, independently of all others.

    With `noise` its words are the same, and its image is one that was drawn for another post, so
    that it carries no information about this one. With `mixed` see `_draw_mixed`.

    Returns:
        The post, and the generator to paint its image with.
    """
    place = [STREAM, seed, list(SPLITS).index(split), number]
    name = f"demo{seed}_{split}_{number:05d}"
    if pictures == "mixed":
        rng = np.random.default_rng([*place, PICTURES.index(pictures)])
        return _draw_mixed(name, split == "train", rng), rng
    rng = np.random.default_rng(place)
    cue = _draw_cue(rng)
    decision = draw_decision(rng, cue)
    true = int(rng.integers(2))
    drawn = 1 - true if cue == "text" else true
    kind, reading = decision.types[true], decision.readings[drawn]
    sentence = draw_sentence(rng, cue, decision.name, kind, decision.pool, split == "train")
    if pictures == "noise":
        rng = np.random.default_rng([*place, PICTURES.index(pictures)])
        other = draw_decision(rng, _draw_cue(rng))
        composition = compose(other, other.readings[int(rng.integers(2))], rng)
    else:
        composition = compose(decision, reading, rng)
    relevant = cue != "text" and pictures != "noise"
    return DemoPost(name, cue, relevant, decision, reading, kind, sentence, composition), rng


def _draw_mixed(name: str, training: bool, rng: np.random.Generator) -> DemoPost:
    """Draw a post whose last word names a scene, that of its image in every second post.

    There the object in the image decides between the two types of the name. Where the scene is
    another one the type is always the first, whatever the object: words alone are right in 3 of 4
    posts, and so is a reader who sees the object but not whether the image is that of the post.
    """
    decision = draw_decision(rng, "object")
    shown, relevant = int(rng.integers(2)), bool(rng.integers(2))
    reading, kind = decision.readings[shown], decision.types[shown if relevant else 0]
    sentence = draw_sentence(rng, "object", decision.name, kind, decision.pool, training)
    composition = compose(decision, reading, rng)
    others = [scene for scene in SCENES if scene != composition.scene]
    scene = composition.scene if relevant else str(rng.choice(others))
    sentence = replace(sentence, words=(*sentence.words, f"#{scene}"))
    return DemoPost(name, RELEVANCE, relevant, decision, reading, kind, sentence, composition)


def _draw_cue(rng: np.random.Generator) -> str:
    return list(CUES)[int(rng.choice(len(CUES), p=list(CUES.values())))]


def split_sizes(posts: int) -> dict[str, int]:
    """Divide a number of posts among the splits as 2000 : 600 : 900."""
    dev, test = (round(posts * SPLITS[name][1] / TOTAL) for name in ("dev", "test"))
    return {"train": posts - dev - test, "dev": dev, "test": test}


def write_corpus(
    out: str | Path,
    seed: int = 0,
    posts: int = TOTAL,
    images: bool = True,
    pictures: str = "cues",
) -> dict[str, int]:
    """Write the demo corpus: the same seed and number of posts produce the same bytes.

    The folder holds train.txt, valid.txt, test.txt (CoNLL with IMGID lines), images/*.jpg,
    manifest.jsonl (one line per post) and ceiling.json (see `text_ceiling`). It is written
    atomically and replaces an existing one. Without `images` it is written much faster, and all
    else stays the same. `pictures` is one of PICTURES, see `draw_post`.

    Returns:
        The number of posts by split.
    """
    sizes = split_sizes(posts)
    with atomic_folder(out, CORPUS) as folder:
        if images:
            (folder / "images").mkdir()
        with (folder / "manifest.jsonl").open("w", encoding="utf-8", newline="\n") as manifest:
            for split, size in sizes.items():
                path = folder / SPLITS[split][0]
                with path.open("w", encoding="utf-8", newline="\n") as text:
                    for number in range(size):
                        post, rng = draw_post(seed, split, number, pictures)
                        if images:
                            jpeg = jpeg_bytes(render(post.composition, rng))
                            (folder / "images" / f"{post.id}.jpg").write_bytes(jpeg)
                        text.write(post.conll())
                        manifest.write(json.dumps(post.manifest(split)) + "\n")
                log.info("demo corpus, seed %d: %s has %d posts", seed, split, size)
        mixed = pictures == "mixed"
        known = {"overall": 0.75, RELEVANCE: 0.75} if mixed else text_ceiling()
        facts = {
            "seed": seed,
            "posts": sizes,
            "shares": {RELEVANCE: 1} if mixed else CUES,
            "text_ceiling": {name: round(value, 6) for name, value in known.items()},
        }
        (folder / "ceiling.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")
    return sizes
