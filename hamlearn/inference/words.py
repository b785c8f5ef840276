"""Raw text to words as tweets are split, each with its place in the text.

NLTK's rules for tweets decide what a word is: a URL, an @name, a #tag, an emoticon, an emoji of
several characters. They are applied to the text as it is given, so that places stay right. Two
things are added: what is one character to the reader (a grapheme cluster: an emoji with its
joiners and selectors, a letter with its accents) is never torn apart, and an apostrophe stands
alone, as in the corpora of the field (`Jordan ' s`, `don ' t`).
"""

from functools import cache
from typing import Any, NamedTuple

import regex

from hamlearn.errors import HamlearnError

LONGEST_RUN = 1000  # characters without a space that are looked at together
_GRAPHEME = regex.compile(r"\X")
_APOSTROPHES = regex.compile(r"'")


class Word(NamedTuple):
    """A word and its place: `text[start:end] == word`."""

    text: str
    start: int
    end: int


def split_words(text: str) -> list[Word]:
    """Return the words of a text from left to right.

    Every character that is no white space is in exactly one word, and no white space is in any.

    Args:
        text: of any length, in any script.

    Raises:
        HamlearnError: a run of characters without a space is such that the rules do not come to
            an end in time.
    """
    words: list[Word] = []
    start = 0
    while start < len(text):
        if text[start].isspace():
            start += 1
            continue
        end = start
        while end < len(text) and end - start < LONGEST_RUN and not text[end].isspace():
            end += 1
        run = text[start:end]
        ends = _ends(run)
        words += [
            Word(run[left:right], start + left, start + right)
            for left, right in zip([0, *ends], ends, strict=False)
        ]
        start = end
    return words


def joined(words: tuple[str, ...]) -> tuple[str, list[Word]]:
    """Return words that were given as such as a text, one space between them, and their places."""
    placed, start = [], 0
    for word in words:
        placed.append(Word(word, start, start + len(word)))
        start += len(word) + 1
    return " ".join(words), placed


def _ends(run: str) -> list[int]:
    """Return where the words of a run without white space end."""
    ends: set[int] = {len(run)}
    try:
        for found in _rules().finditer(run):
            ends |= {found.start(), found.end()}
            if _has_apostrophe(found.group()):
                for mark in _APOSTROPHES.finditer(found.group()):
                    ends |= {found.start() + mark.start(), found.start() + mark.end()}
    except TimeoutError as error:
        raise HamlearnError(
            f"text: found {run[:40]!r}..., {len(run)} characters without a space that cannot be"
            " split into words in time"
        ) from error
    whole = {found.end() for found in _GRAPHEME.finditer(run)}
    return sorted((ends & whole) - {0})


def _has_apostrophe(word: str) -> bool:
    """Tell whether a word is one of letters with an apostrophe inside, such as `Jordan's`."""
    return (
        "'" in word
        and word[0].isalpha()
        and all(letter.isalpha() or letter in "'-_" for letter in word)
    )


@cache
def _rules() -> Any:
    """Return NLTK's pattern; its package is imported when the first text is split."""
    from nltk.tokenize.casual import TweetTokenizer

    return TweetTokenizer(match_phone_numbers=False).WORD_RE
