"""Whole words and characters as numbers, and word vectors, for systems without a text encoder."""

import json
import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from hamlearn.errors import HamlearnError

log = logging.getLogger(__name__)

PAD, UNKNOWN, FIRST = 0, 1, 2  # numbers of both vocabularies; entries begin at FIRST
RARE = 2  # a word seen fewer times in training, and without a vector, is the unknown word
WIDTH = 100  # of random word vectors (Lample et al. 2016)
LONGEST = 50  # characters of a word that are looked at


@dataclass(frozen=True)
class Lexicon:
    """The words and characters that a run knows.

    Words are looked up in lower case, characters as they are. A word of the training split that is
    seen once and has no vector is the unknown word, and so the unknown word's vector is trained.

    Attributes:
        words: in lower case; the first has the number FIRST.
        characters: likewise.
    """

    words: tuple[str, ...]
    characters: tuple[str, ...]

    @classmethod
    def of(cls, posts: Iterable[Sequence[str]], known: Iterable[str] = ()) -> Self:
        """Make a lexicon from the words of the training split.

        Args:
            posts: the words of each post.
            known: words in lower case that have a vector and so are kept, seen or not.
        """
        seen = Counter(word for words in posts for word in words)
        lowered: Counter[str] = Counter()
        for word, count in seen.items():
            lowered[word.lower()] += count
        often = {word for word, count in lowered.items() if count >= RARE}
        characters = {character for word in seen for character in word}
        return cls(tuple(sorted(often | set(known))), tuple(sorted(characters)))

    @property
    def sizes(self) -> dict[str, int]:
        """Entries of both vocabularies, with padding and the unknown one."""
        return {"words": FIRST + len(self.words), "characters": FIRST + len(self.characters)}

    def number(self, words: Sequence[str]) -> "Numbered":
        """Return the numbers of words and of their first LONGEST characters."""
        return Numbered(
            np.array([self._words.get(word.lower(), UNKNOWN) for word in words], dtype=np.int64),
            tuple(
                np.array(
                    [self._characters.get(character, UNKNOWN) for character in word[:LONGEST]],
                    dtype=np.int64,
                )
                for word in words
            ),
        )

    def write(self, path: Path) -> None:
        """Write the lexicon as JSON."""
        values = {"words": self.words, "characters": self.characters}
        path.write_text(json.dumps(values, ensure_ascii=False, indent=0) + "\n", encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read what `write` wrote.

        Raises:
            HamlearnError: the file is absent or is no lexicon.
        """
        if not path.is_file():
            raise HamlearnError(f"{path}: no such file, expected the words that the run knows")
        try:
            values = json.loads(path.read_text(encoding="utf-8"))
            words, characters = (_texts(values[name]) for name in ("words", "characters"))
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise HamlearnError(f"{path}: not a lexicon ({error!s:.200})") from error
        return cls(words, characters)

    @cached_property
    def _words(self) -> dict[str, int]:
        return {word: number for number, word in enumerate(self.words, FIRST)}

    @cached_property
    def _characters(self) -> dict[str, int]:
        return {character: number for number, character in enumerate(self.characters, FIRST)}


def _texts(values: object) -> tuple[str, ...]:
    """Return a list of different texts as it is."""
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise ValueError("expected lists of texts")
    if len(set(values)) != len(values):
        raise ValueError("expected each text once")
    return tuple(values)


@dataclass(frozen=True, slots=True)
class Numbered:
    """The words of one post by number: (W,) int64, and one (C,) int64 array for each word."""

    words: NDArray[np.int64]
    characters: tuple[NDArray[np.int64], ...]

    def drop(self, dropped: NDArray[np.bool_]) -> "Numbered":
        """Make the words unknown that `dropped` (W,) marks, and each of them one unknown letter."""
        unknown = np.array([UNKNOWN], dtype=np.int64)
        return Numbered(
            np.where(dropped, UNKNOWN, self.words),
            tuple(
                unknown if is_dropped else own
                for own, is_dropped in zip(self.characters, dropped, strict=True)
            ),
        )


def pad_characters(posts: Sequence[Numbered], n_words: int) -> NDArray[np.int64]:
    """Return the characters of posts as one (B, W, C) array, PAD where there is none."""
    longest = max((len(own) for post in posts for own in post.characters), default=0)
    padded = np.full((len(posts), n_words, max(longest, 1)), PAD, dtype=np.int64)
    for row, post in enumerate(posts):
        for place, own in enumerate(post.characters):
            padded[row, place, : len(own)] = own
    return padded


def read_vectors(path: str | Path, wanted: Iterable[str]) -> dict[str, NDArray[np.float32]]:
    """Read the vectors of some words from a file in GloVe's or word2vec's text format.

    A line is a word and its numbers, separated by single spaces; word2vec's begins with a line of
    two numbers, the entries and the width. Lines are read one after the other and only wanted
    words are kept. A word is matched as it stands, and where nothing does so, by the first entry
    that does in lower case.

    Args:
        path: of the file.
        wanted: words in lower case.

    Returns:
        The vectors (width,) of the words that the file has.

    Raises:
        HamlearnError: the file is absent, or a line is not a word and numbers of the width of the
            first one; the message names the line.
    """
    path, left = Path(path), set(wanted)
    if not path.is_file():
        raise HamlearnError(f"text.word_vectors: {path}: no such file, expected word vectors")
    exact: dict[str, NDArray[np.float32]] = {}
    lowered: dict[str, NDArray[np.float32]] = {}
    width = 0
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            fields = raw.rstrip(b" \r\n").split(b" ")
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
                # Some published files have words with spaces in them.
                word = b" ".join(fields[:-width]).decode()
            except UnicodeDecodeError:
                continue  # word2vec cuts words in the middle of a letter; no word of ours is one
            into, key = (exact, word) if word in left else (lowered, word.lower())
            if key not in left or key in into:
                continue
            try:
                into[key] = np.array(fields[-width:], dtype=np.float32)
            except ValueError as error:
                raise HamlearnError(
                    f"text.word_vectors: {path}:{number}: found {error}, expected {width} numbers"
                ) from error
    if not width:
        raise HamlearnError(f"text.word_vectors: {path}: found no line, expected word vectors")
    found = lowered | exact
    log.info("%s: vectors of width %d for %d of %d words", path, width, len(found), len(left))
    return found
