"""The words that a run without a text encoder knows, and the vectors that they begin with."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from hamlearn.corpus.posts import iterate_posts
from hamlearn.data.lexicon import FIRST, WIDTH, Lexicon, read_vectors
from hamlearn.model.base import TaggingModel
from hamlearn.model.baselines.lexical import LexicalTagger
from hamlearn.systems import inputs_of


@dataclass(frozen=True)
class Words:
    """A lexicon and the vectors of some of its words.

    Attributes:
        lexicon: the words.
        width: of a vector.
        vectors: (width,) by word; the others are random.
        told: where the vectors come from, for run.json.
    """

    lexicon: Lexicon
    width: int
    vectors: dict[str, NDArray[np.float32]]
    told: str

    @property
    def sizes(self) -> dict[str, int]:
        """What these words decide of a model's shape, by the names of `Sizes`."""
        return self.lexicon.sizes | {"word": self.width}

    @torch.no_grad()
    def put_into(self, tagger: TaggingModel) -> None:
        """Let the model's word vectors begin with those of the file."""
        if not isinstance(tagger, LexicalTagger):
            raise TypeError(f"found {type(tagger).__name__}, expected a model with word vectors")
        for number, word in enumerate(self.lexicon.words, FIRST):
            if word in self.vectors:
                tagger.words.weight[number] = torch.from_numpy(self.vectors[word])


def read_words(variant: str, posts: str | Path, vectors: str | None) -> Words | None:
    """Return the words that a variant knows; None for one that reads sub-tokens alone.

    They are those of the training split and, where there is a file of vectors, every word of the
    corpus that it has: the vectors know it, whatever split it is in, and labels are not looked at.

    Args:
        variant: its name.
        posts: prepared posts.
        vectors: file of word vectors, or None.

    Raises:
        HamlearnError: the file of vectors is absent or is none.
    """
    if not inputs_of(variant).lexicon:
        return None
    train = (post.words for post in iterate_posts(posts, "train"))
    if vectors is None:
        return Words(Lexicon.of(train), WIDTH, {}, "random")
    wanted = {word.lower() for post in iterate_posts(posts) for word in post.words}
    found = read_vectors(vectors, wanted)
    lexicon = Lexicon.of(train, found)
    width = len(next(iter(found.values()))) if found else WIDTH
    told = f"{Path(vectors).name}: {len(found)} of {len(wanted)} words of the corpus"
    return Words(lexicon, width, found, told)
