"""Word and character vocabularies, and word vectors, for systems without a text encoder."""

import json
import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import TypeAdapter

from hamlearn.corpus.posts import iterate_posts
from hamlearn.errors import HamlearnError
from hamlearn.io import lines, read_limited
from hamlearn.model.base import TaggingModel

log = logging.getLogger(__name__)

PAD, UNKNOWN, FIRST = 0, 1, 2  # ids in both vocabularies; entries begin at FIRST
RARE = 2  # a word seen fewer times in training, and without a vector, is the unknown word
WIDTH = 100  # of random word vectors (Lample et al. 2016)
LONGEST = 50  # characters of a word that are read
COMPRESSED = {
    b"\x1f\x8b": "gzip",
    b"PK\x03\x04": "zip",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}


@dataclass(frozen=True, slots=True)
class LexicalIds:
    """Ids of the words of one post, (W,) int64, and of their characters, (W, C) int64."""

    words: NDArray[np.int64]
    characters: NDArray[np.int64]

    def drop(self, dropped: NDArray[np.bool_]) -> "LexicalIds":
        """Replace each word that `dropped` (W,) marks by the unknown word of one unknown letter."""
        unknown = np.where(np.arange(self.characters.shape[1]) == 0, UNKNOWN, PAD)
        return LexicalIds(
            np.where(dropped, UNKNOWN, self.words),
            np.where(dropped[:, None], unknown, self.characters),
        )


@dataclass(frozen=True)
class Lexicon:
    """The words and characters that a run knows, and in training the initial word vectors.

    Words are looked up in lower case, characters as they are. A training word that is seen once and
    has no vector is the unknown word, so the unknown word's vector is trained. Words that are not
    in `vectors` start from random vectors.
    """

    words: tuple[str, ...]  # in lower case; the first has the id FIRST
    characters: tuple[str, ...]  # likewise
    vectors: dict[str, NDArray[np.float32]] = field(default_factory=dict, compare=False)
    width: int = field(default=WIDTH, compare=False)  # of a word vector
    source: str = field(default="random", compare=False)  # where the vectors come from

    @classmethod
    def from_posts(cls, posts: str | Path, vectors: str | Path | None = None) -> Self:
        """Return the lexicon of prepared posts.

        It has the words of the training split and every word of the corpus, of any split, that has
        a vector in the file `vectors`; labels are not read.

        Raises:
            HamlearnError: a file is absent or unreadable.
        """
        seen = Counter(word for post in iterate_posts(posts, "train") for word in post.words)
        lowered: Counter[str] = Counter()
        for word, count in seen.items():
            lowered[word.lower()] += count
        frequent = {word for word, count in lowered.items() if count >= RARE}
        characters = tuple(sorted({character for word in seen for character in word}))
        if vectors is None:
            return cls(tuple(sorted(frequent)), characters)
        wanted = {word.lower() for post in iterate_posts(posts) for word in post.words}
        found = read_vectors(vectors, wanted)
        return cls(
            words=tuple(sorted(frequent | found.keys())),
            characters=characters,
            vectors=found,
            width=len(next(iter(found.values()))) if found else WIDTH,
            source=f"{Path(vectors).name}: {len(found)} of {len(wanted)} words of the corpus",
        )

    @property
    def sizes(self) -> dict[str, int]:
        """Entries of both vocabularies, including padding and the unknown entry."""
        return {"words": FIRST + len(self.words), "characters": FIRST + len(self.characters)}

    @torch.no_grad()
    def initialise(self, model: TaggingModel) -> None:
        """Initialise the word embedding of a model from the pretrained vectors."""
        weight = model.get_parameter("words.weight")
        for number, word in enumerate(self.words, FIRST):
            if word in self.vectors:
                weight[number] = torch.from_numpy(self.vectors[word])

    def encode(self, words: Sequence[str]) -> LexicalIds:
        """Return the ids of words and of their first LONGEST characters."""
        ids = [self._words.get(word.lower(), UNKNOWN) for word in words]
        words = [word[:LONGEST] for word in words]
        characters = np.full((len(words), max(map(len, words))), PAD, dtype=np.int64)
        for row, word in zip(characters, words, strict=True):
            row[: len(word)] = [self._characters.get(character, UNKNOWN) for character in word]
        return LexicalIds(np.array(ids, dtype=np.int64), characters)

    def write(self, path: Path) -> None:
        """Write the lexicon as JSON."""
        values = {"words": self.words, "characters": self.characters}
        path.write_text(json.dumps(values, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file written by `write`.

        Raises:
            HamlearnError: the file is absent or not a lexicon.
        """
        if not path.is_file():
            raise HamlearnError(f"{path}: no such file, expected the words that the run knows")
        try:
            lists = TypeAdapter(dict[str, tuple[str, ...]]).validate_json(read_limited(path))
            if any(len(set(texts)) < len(texts) for texts in lists.values()):
                raise ValueError("expected each string once")
            return cls(lists["words"], lists["characters"])
        except HamlearnError:
            raise
        except (ValueError, KeyError) as error:
            raise HamlearnError(f"{path}: not a lexicon ({error!s:.200})") from error

    @cached_property
    def _words(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.words, FIRST)}

    @cached_property
    def _characters(self) -> dict[str, int]:
        return {character: number for number, character in enumerate(self.characters, FIRST)}


def read_vectors(path: str | Path, wanted: Iterable[str]) -> dict[str, NDArray[np.float32]]:
    """Read the vectors of some words from a file in GloVe's or word2vec's text format.

    A line is a word and its numbers, separated by single spaces; word2vec's files begin with a line
    of two numbers, the entries and the width. Lines are read one at a time. A wanted word is in
    lower case and takes the entry that equals it, or else the first that does in lower case.

    Raises:
        HamlearnError: the file is absent, or a line is not a word and as many numbers as the first
            line; the message names the line.
    """
    path, wanted = Path(path), set(wanted)
    if not path.is_file():
        raise HamlearnError(f"text.word_vectors: {path}: no such file, expected word vectors")
    with path.open("rb") as file:
        begin = file.read(6)
    for magic, program in COMPRESSED.items():
        if begin.startswith(magic):
            raise HamlearnError(
                f"text.word_vectors: {path}: found a file compressed by {program}, expected text:"
                " decompress it, and name the result"
            )
    exact: dict[str, NDArray[np.float32]] = {}
    lowered: dict[str, NDArray[np.float32]] = {}
    width, word = 0, ""
    with path.open("rb") as file:
        for number, line in lines(file):
            fields = line.rstrip(b" \r\n").split(b" ")
            if number == 1 and len(fields) == 2 and all(field.isdigit() for field in fields):
                width = int(fields[1])
                continue
            width = width or len(fields) - 1
            if width < 1 or len(fields) <= width:
                raise HamlearnError(
                    f"text.word_vectors: {path}:{number}: found {len(fields) - 1} numbers, expected"
                    f" a word and {width or 'some'}, as in the lines before"
                )
            try:
                word = b" ".join(fields[:-width]).decode()  # some published words hold spaces
            except UnicodeDecodeError:
                continue  # word2vec cuts words in the middle of a character; none is ours
            target, key = (exact, word) if word in wanted else (lowered, word.lower())
            if key not in wanted or key in target:
                continue
            try:
                target[key] = np.array(fields[-width:], dtype=np.float32)
            except ValueError as error:
                raise HamlearnError(
                    f"text.word_vectors: {path}:{number}: found {error}, expected {width} numbers"
                ) from error
    if not width:
        raise HamlearnError(f"text.word_vectors: {path}: found no line, expected word vectors")
    found = lowered | exact
    if wanted and not found:
        raise HamlearnError(
            f"text.word_vectors: {path}: found a vector of none of {len(wanted)} words, such as"
            f" {min(wanted)!r:.40}; the last line is of {word!r:.40}; expected vectors of the words"
            " of the corpus, as text"
        )
    log.info("%s: vectors of width %d for %d of %d words", path, width, len(found), len(wanted))
    return found
