"""Split raw text into words as tweets are split, each with its position in the text.

HTML entities, which Twitter's interface writes (`&amp;`, `&lt;3`, `&#39;`), are read as the
characters that they stand for, as in Twitter-2017; positions are those in the unchanged text.
NLTK's rules for tweets decide what a word is: a URL, an @name, a #tag, an emoticon, an emoji of
several characters. Two rules are added: a grapheme cluster (an emoji with its joiners and
selectors, a letter with its accents) is never split, and an apostrophe is a word of its own, as in
the field's corpora (`Jordan ' s`).
"""

import html
import re
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import pairwise
from typing import Any, NamedTuple

import regex

from hamlearn.errors import HamlearnError
from hamlearn.inference.posts import Post

MAX_CHARACTERS = 100_000  # of a post
LONGEST_RUN = 1000  # characters without a space that are split together
_GRAPHEME = regex.compile(r"\X")
_HTML = re.compile(r"&(#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")


class Word(NamedTuple):
    """A word and its position: it is `text[start:end]`, with the characters of HTML entities."""

    text: str
    start: int
    end: int


def split_words(text: str) -> list[Word]:
    """Return the words of a text from left to right.

    Every character other than white space is in exactly one word. Positions count code points.

    Raises:
        HamlearnError: the rules take too long on a run of characters without a space.
    """
    plain, places = _without_html(text)
    words: list[Word] = []
    for run in re.finditer(rf"\S{{1,{LONGEST_RUN}}}", plain):
        ends = [run.start() + end for end in [0, *_word_ends(run.group())]]
        words += [Word(plain[a:b], places[a], places[b]) for a, b in pairwise(ends)]
    return words


def _without_html(text: str) -> tuple[str, Sequence[int]]:
    """Return a text with characters for HTML entities, and where each begins in the given text.

    Entities without a semicolon and those of several characters stay as they are.
    """
    pieces: list[str] = []
    places: list[int] = []
    end = 0
    for found in _HTML.finditer(text):
        character = html.unescape(found.group())
        if len(character) == 1:
            pieces += [text[end : found.start()], character]
            places += [*range(end, found.start()), found.start()]
            end = found.end()
    if not pieces:
        return text, range(len(text) + 1)
    return "".join(pieces) + text[end:], [*places, *range(end, len(text) + 1)]


def join_words(words: tuple[str, ...]) -> tuple[str, list[Word]]:
    """Return words joined by spaces, and their positions."""
    placed, start = [], 0
    for word in words:
        placed.append(Word(word, start, start + len(word)))
        start += len(word) + 1
    return " ".join(words), placed


def _word_ends(run: str) -> list[int]:
    """Return where the words of a run without white space end."""
    ends: set[int] = {len(run)}
    try:
        for found in _tweet_rules().finditer(run):
            word, start = found.group(), found.start()
            ends |= {start, found.end()}
            # Letters with an apostrophe inside, such as `Jordan's`; not an emoticon such as :'(
            if word[0].isalpha() and all(x.isalpha() or x in "'-_" for x in word):
                marks = [start + place for place, letter in enumerate(word) if letter == "'"]
                ends |= {end for mark in marks for end in (mark, mark + 1)}
    except TimeoutError as error:
        raise HamlearnError(
            f"text: found {run[:40]!r}..., {len(run)} characters without a space that cannot be"
            " split into words in time"
        ) from error
    clusters = {found.end() for found in _GRAPHEME.finditer(run)}
    return sorted((ends & clusters) - {0})


@cache
def _tweet_rules() -> Any:
    """Return NLTK's pattern; the package is imported when the first text is split."""
    from nltk.tokenize.casual import TweetTokenizer

    return TweetTokenizer(match_phone_numbers=False).WORD_RE


def words_of(post: Post) -> tuple[str, list[Word]]:
    """Return the text of a post and its words; HamlearnError where there are none."""
    if post.words is not None:
        if not all(isinstance(word, str) and word and not word.isspace() for word in post.words):
            raise HamlearnError("words: found an empty one or one that is not text")
        text, words = join_words(tuple(post.words))
    elif isinstance(post.text, str):
        text, words = post.text, []
    else:
        raise HamlearnError(
            f"text: found {type(post.text).__name__}, expected the text of a post, or its words"
        )
    if len(text) > MAX_CHARACTERS:
        raise HamlearnError(
            f"text: found {len(text)} characters, expected at most {MAX_CHARACTERS}"
        )
    if whole_characters(text) != text:
        raise HamlearnError("text: found half of a surrogate pair, expected whole characters")
    if not isinstance(post.texts, Mapping) or not all(
        isinstance(one, str) for one in (post.caption or "", *post.texts.values())
    ):
        raise HamlearnError(f"texts: found {post.texts!r:.80}, expected text by name")
    words = words or split_words(text)
    if not words:
        raise HamlearnError("text: found no word, expected at least one")
    return text, words


def whole_characters(text: str) -> str:
    """Replace halves of surrogate pairs, which UTF-8 cannot hold, by question marks."""
    return text.encode("utf-8", "replace").decode("utf-8")
