"""Words to sub-tokens, by the encoder's own fast tokenizer."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerBase

from hamlearn.data.text_encoder import SpecialIds, special_ids
from hamlearn.errors import HamlearnError

Pieces = list[list[int]]  # the sub-tokens of each word of one post


@dataclass(frozen=True, slots=True)
class Tokens:
    """The sub-tokens of one post.

    Attributes:
        ids: (S,) int64, [CLS] first and [SEP] last.
        word_ids: (S,) int64, the word of each sub-token, -1 for [CLS] and [SEP].
        words: W, the words that fit; those past it were cut.
    """

    ids: NDArray[np.int64]
    word_ids: NDArray[np.int64]
    words: int


def tokenise(
    posts: Iterable[Sequence[str]], tokenizer: PreTrainedTokenizerBase, max_subtokens: int
) -> list[Tokens]:
    """Tokenise posts that are already split into words.

    A word without a sub-token (some emoji, U+FFFD, U+200D) becomes one [UNK]. The first word that
    does not fit whole into `max_subtokens`, [CLS] and [SEP] counted, is cut, and all words after
    it; only a post's very first word is kept by as many sub-tokens as fit, since no post is empty.

    Args:
        posts: the words of each post.
        tokenizer: a fast tokenizer.
        max_subtokens: S at most, 3 or more.

    Raises:
        HamlearnError: `max_subtokens` leaves no room for a word, or is more than the encoder takes.
    """
    special = special_ids(tokenizer)
    room = max_subtokens - 2
    return [
        assemble(fitting([pieces[0][:room], *pieces[1:]], room), special)
        for pieces in pieces_of(posts, tokenizer, max_subtokens)
    ]


def pieces_of(
    posts: Iterable[Sequence[str]], tokenizer: PreTrainedTokenizerBase, max_subtokens: int
) -> list[Pieces]:
    """Return the sub-tokens of every word of every post, [UNK] where a word has none.

    Args:
        posts: the words of each post.
        tokenizer: a fast tokenizer.
        max_subtokens: S at most, 3 or more; nothing is cut here.

    Raises:
        HamlearnError: `max_subtokens` leaves no room for a word, or is more than the encoder takes.
    """
    longest = tokenizer.model_max_length
    if not 3 <= max_subtokens <= longest:
        raise HamlearnError(
            f"text.max_subtokens: found {max_subtokens}, expected 3 to {longest}, what"
            f" {tokenizer.name_or_path} takes"
        )
    unk = special_ids(tokenizer).unk
    words = [list(post) for post in posts]
    if not words:
        return []
    encoded = tokenizer(words, is_split_into_words=True, add_special_tokens=False, verbose=False)
    return [
        _pieces(ids, encoded.word_ids(row), len(post), unk)
        for row, (ids, post) in enumerate(zip(encoded["input_ids"], words, strict=True))
    ]


def fitting(pieces: Pieces, room: int) -> Pieces:
    """Return the words that fit whole into `room` sub-tokens, up to the first that does not."""
    ends = np.cumsum([len(of_word) for of_word in pieces], dtype=np.int64)
    return pieces[: int(np.searchsorted(ends, room, side="right"))]


def assemble(pieces: Pieces, special: SpecialIds) -> Tokens:
    """Join [CLS], the words, and [SEP]."""
    ids = [special.cls, *(token for of_word in pieces for token in of_word), special.sep]
    word_ids = np.full(len(ids), -1, dtype=np.int64)
    word_ids[1:-1] = np.repeat(np.arange(len(pieces)), [len(of_word) for of_word in pieces])
    return Tokens(np.asarray(ids, dtype=np.int64), word_ids, len(pieces))


def _pieces(ids: list[int], word_ids: list[int], n_words: int, unk: int) -> Pieces:
    """Return the sub-tokens of every word, [UNK] where there are none."""
    pieces: Pieces = [[] for _ in range(n_words)]
    for token, word in zip(ids, word_ids, strict=True):
        pieces[word].append(token)
    return [of_word or [unk] for of_word in pieces]
