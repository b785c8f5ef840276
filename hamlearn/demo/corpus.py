"""The demo corpus on disk: CoNLL text, drawn pictures, and what decides each entity."""

import json
import logging
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hamlearn.demo.composition import Composition, compose, jpeg_bytes, render
from hamlearn.demo.decisions import CUES, Decision, draw_decision
from hamlearn.demo.grammar import Sentence, draw_sentence, text_ceiling
from hamlearn.errors import HamlearnError
from hamlearn.io import atomic_write

log = logging.getLogger(__name__)
# split -> its file and its share of the posts
SPLITS = {"train": ("train.txt", 2000), "dev": ("valid.txt", 600), "test": ("test.txt", 900)}
TOTAL = sum(share for _, share in SPLITS.values())
# First word of every seed here; the vision weights were made from another.
STREAM = 11


@dataclass(frozen=True)
class DemoPost:
    """One post before it is written.

    Attributes:
        id: the IMGID.
        cue: what decides the type of its entity.
        decision: the question that its picture answers.
        reading: the answer that is drawn; for the text cue, that of the wrong type.
        kind: the true type of the entity.
        sentence: words and span.
        composition: the picture.
    """

    id: str
    cue: str
    decision: Decision
    reading: str
    kind: str
    sentence: Sentence
    composition: Composition

    def conll(self) -> str:
        """Return the post as CoNLL text, with the blank line that ends it."""
        lines = [f"IMGID:{self.id}"]
        for k, word in enumerate(self.sentence.words):
            inside = self.sentence.start <= k < self.sentence.end
            label = ("B-" if k == self.sentence.start else "I-") + self.kind if inside else "O"
            lines.append(f"{word}\t{label}")
        return "\n".join(lines) + "\n\n"

    def manifest(self, split: str) -> dict[str, Any]:
        """Return the post's line of the manifest."""
        return {
            "id": self.id,
            "split": split,
            "cue": self.cue,
            "decision": self.decision.name,
            "reading": self.reading,
            "entities": [
                {
                    "start": self.sentence.start,
                    "end": self.sentence.end,
                    "type": self.kind,
                    "cue": self.cue,
                }
            ],
            "scene": self.composition.scene,
            "objects": [
                {"class": kind, "box": list(box)} for kind, box in self.composition.objects
            ],
            "relevant": self.cue != "text",
            "width": self.composition.width,
            "height": self.composition.height,
        }


def draw_post(seed: int, split: str, number: int) -> tuple[DemoPost, np.random.Generator]:
    """Draw one post, which depends on no other.

    Args:
        seed: of the corpus.
        split: "train", "dev" or "test".
        number: of the post within its split.

    Returns:
        The post, and the generator to paint its picture with.
    """
    index = list(SPLITS).index(split)
    rng = np.random.default_rng([STREAM, seed, index, number])
    cue = list(CUES)[int(rng.choice(len(CUES), p=list(CUES.values())))]
    decision = draw_decision(rng, cue)
    true = int(rng.integers(2))
    drawn = 1 - true if cue == "text" else true
    kind, reading = decision.types[true], decision.readings[drawn]
    sentence = draw_sentence(rng, cue, decision.name, kind, decision.pool, split == "train")
    composition = compose(decision, reading, rng)
    name = f"demo{seed}_{split}_{number:05d}"
    return DemoPost(name, cue, decision, reading, kind, sentence, composition), rng


def split_sizes(posts: int) -> dict[str, int]:
    """Divide a number of posts among the splits as 2000 : 600 : 900.

    Raises:
        HamlearnError: fewer than 30 posts are asked for.
    """
    if posts < 30:
        raise HamlearnError(f"posts: {posts} asked for; expected at least 30")
    dev, test = (round(posts * SPLITS[name][1] / TOTAL) for name in ("dev", "test"))
    return {"train": posts - dev - test, "dev": dev, "test": test}


def _write_split(
    folder: Path, seed: int, split: str, size: int, pictures: bool
) -> Generator[dict[str, Any], None, None]:
    with (folder / SPLITS[split][0]).open("w", encoding="utf-8", newline="\n") as text:
        for number in range(size):
            post, rng = draw_post(seed, split, number)
            if pictures:
                picture = jpeg_bytes(render(post.composition, rng))
                (folder / "images" / f"{post.id}.jpg").write_bytes(picture)
            text.write(post.conll())
            yield post.manifest(split)


def write_corpus(
    out: str | Path, seed: int = 0, posts: int = TOTAL, pictures: bool = True
) -> dict[str, int]:
    """Write the demo corpus: same seed and number of posts, same bytes.

    The folder holds train.txt, valid.txt, test.txt (CoNLL with IMGID lines), images/*.jpg,
    manifest.jsonl (a line a post) and ceiling.json (the best expected F1 without pictures, see
    text_ceiling). It appears whole or not at all; one that is there is replaced.

    Args:
        out: the folder.
        seed: not negative.
        posts: in all splits together.
        pictures: False leaves them out, at a small part of the time; all else stays the same.

    Returns:
        The number of posts by split.

    Raises:
        HamlearnError: the seed is negative or there are too few posts.
    """
    if seed < 0:
        raise HamlearnError(f"seed: {seed} given; expected 0 or more")
    sizes = split_sizes(posts)
    with atomic_write(out) as folder:
        (folder / "images" if pictures else folder).mkdir(parents=True)
        with (folder / "manifest.jsonl").open("w", encoding="utf-8", newline="\n") as manifest:
            for split, size in sizes.items():
                with closing(_write_split(folder, seed, split, size, pictures)) as lines:
                    manifest.writelines(json.dumps(line) + "\n" for line in lines)
                log.info("demo corpus, seed %d: %s has %d posts", seed, split, size)
        ceiling = {name: round(value, 6) for name, value in text_ceiling().items()}
        about = {"seed": seed, "posts": sizes, "shares": CUES, "text_ceiling": ceiling}
        (folder / "ceiling.json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    return sizes
