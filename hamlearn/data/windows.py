"""Posts longer than the encoder reads at once: overlapping windows, joined again before the CRF."""

from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from hamlearn.data.ragged import Ragged
from hamlearn.data.text_encoder import special_ids
from hamlearn.data.tokenization import Tokens, assemble, pieces_of, tokenise
from hamlearn.model.base import Output, TaggingModel
from hamlearn.model.batch import Batch


@dataclass(frozen=True, slots=True)
class Window:
    """Some words of a post in a row, as the encoder reads them.

    Attributes:
        tokens: of these words.
        first: which word of the post is the window's first.
        target_span: the words of the post, first and last (exclusive), that this window predicts.
            Each word is predicted by one window; the window's other words are context.
    """

    tokens: Tokens
    first: int
    target_span: tuple[int, int]

    @property
    def predicts_all(self) -> bool:
        """Whether it speaks for all the words that it reads."""
        return self.target_span == (self.first, self.first + self.tokens.words)


class Windows:
    """The windows of a split, in arrays: 40 bytes each, and 8 for each of their sub-tokens."""

    def __init__(self) -> None:
        """Begin without windows."""
        self._ids, self._word_of, self._spans = Ragged(), Ragged(), Ragged()

    def append(self, window: Window) -> None:
        """Put a window behind the others."""
        tokens = window.tokens
        self._ids.append(tokens.ids)
        self._word_of.append(tokens.word_ids)
        self._spans.append((tokens.words, window.first, *window.target_span))

    def __len__(self) -> int:
        """Return the number of windows."""
        return len(self._spans)

    def __getitem__(self, index: int) -> Window:
        """Return a window by its number, from 0."""
        words, first, start, stop = self._spans[index].tolist()
        tokens = Tokens(self._ids[index], self._word_of[index], words)
        return Window(tokens, first, (start, stop))

    @property
    def lengths(self) -> "array[int]":
        """The sub-tokens of each window."""
        return self._ids.lengths


@dataclass(frozen=True, slots=True)
class Scored:
    """What the network says of whole posts.

    Attributes:
        posts: P indices of posts.
        emissions: (P, W, K) float32.
        mask: (P, W) bool, True on words; of a post that was cut, on those that were read.
        relevance: (P,) by view; of a post in windows the mean over its windows.
    """

    posts: list[int]
    emissions: Tensor
    mask: Tensor
    relevance: dict[str, Tensor]


def windows_of(
    posts: Sequence[Sequence[str]],
    tokenizer: PreTrainedTokenizerBase,
    max_subtokens: int,
    overlap: int | None,
) -> list[list[Window]]:
    """Return the windows of each post: one, and several for a post that does not fit into one.

    A word that alone is longer than a window is read by as many sub-tokens as fit.

    Args:
        posts: the words of each post.
        tokenizer: a fast tokenizer.
        max_subtokens: S at most, [CLS] and [SEP] counted.
        overlap: sub-tokens that neighbours share at most; None cuts each post to its first window.

    Raises:
        HamlearnError: `max_subtokens` leaves no room for a word, or is more than the encoder takes.
    """
    if overlap is None:
        cut = tokenise(posts, tokenizer, max_subtokens)
        return [[Window(tokens, 0, (0, tokens.words))] for tokens in cut]
    special, room = special_ids(tokenizer), max_subtokens - 2
    found = []
    for pieces in pieces_of(posts, tokenizer, max_subtokens):
        short = [of_word[:room] for of_word in pieces]
        lengths = [len(of_word) for of_word in short]
        spans = window_spans(lengths, room, overlap)
        found.append(
            [
                Window(assemble(short[start:stop], special), start, owned)
                for (start, stop), owned in zip(spans, target_spans(lengths, spans), strict=True)
                if owned[0] < owned[1]
            ]
        )
    return found


def window_spans(lengths: Sequence[int], room: int, overlap: int) -> list[tuple[int, int]]:
    """Return the words, first and last (exclusive), of each window over a post.

    Each window holds as many whole words as fit. The next begins as early as it can, so that the
    words that both hold have at most `overlap` sub-tokens and the first new word fits too.

    Args:
        lengths: (W,) sub-tokens of each word, `room` at most.
        room: sub-tokens of a window.
        overlap: sub-tokens that two neighbours share at most.
    """
    spans, start, stop = [], 0, 0
    while True:
        used = sum(lengths[start:stop])
        while stop < len(lengths) and used + lengths[stop] <= room:
            used += lengths[stop]
            stop += 1
        spans.append((start, stop))
        if stop == len(lengths):
            return spans
        start, shared = stop, 0
        while shared + lengths[start - 1] <= min(overlap, room - lengths[stop]):
            if start - 1 == spans[-1][0]:
                break
            start -= 1
            shared += lengths[start]


def target_spans(lengths: Sequence[int], spans: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return the words that each window speaks for: those that have most context in it.

    The context of a word in a window is the number of sub-tokens on its poorer side; of windows
    that give it the same, the first takes it. Each word is owned once, and each window owns words
    in a row, perhaps none.

    Args:
        lengths: (W,) sub-tokens of each word.
        spans: of each window, from left to right.
    """
    before = np.concatenate([[0], np.cumsum(lengths)])  # (W+1,) sub-tokens left of each word
    best = np.full(len(lengths), -1)
    owner = np.zeros(len(lengths), dtype=np.int64)
    for number, (start, stop) in enumerate(spans):
        left = before[start:stop] - before[start]
        right = before[stop] - before[start + 1 : stop + 1]
        context = np.minimum(left, right)
        better = context > best[start:stop]
        best[start:stop] = np.where(better, context, best[start:stop])
        owner[start:stop] = np.where(better, number, owner[start:stop])
    numbers = np.arange(len(spans))
    firsts = np.searchsorted(owner, numbers, side="left").tolist()
    lasts = np.searchsorted(owner, numbers, side="right").tolist()
    return list(zip(firsts, lasts, strict=True))


def target_mask(window: Window) -> NDArray[np.bool_]:
    """Return (W,) of a window's own words, True on those that it speaks for."""
    words = window.first + np.arange(window.tokens.words)
    return (words >= window.target_span[0]) & (words < window.target_span[1])


def target_words(emissions: Tensor, batch: Batch) -> tuple[Tensor, Batch]:
    """Return emissions and a batch of the owned words alone, moved to the left.

    What comes back fits the tagger's `loss_of` and `decode_of`; a batch without windows is returned
    as it is.

    Args:
        emissions: (B, W, K).
        batch: whose `owned`, `word_mask` and `labels` belong to them.
    """
    if batch.target_mask is None:
        return emissions, batch
    order = (~batch.target_mask).long().argsort(dim=1, stable=True)  # (B, W), owned words first
    order = order[:, : int(batch.target_mask.sum(1).max())]
    wide = order[:, :, None].expand(-1, -1, emissions.shape[2])
    mask = batch.target_mask.gather(1, order)
    labels = None
    if batch.labels is not None:
        labels = batch.labels.gather(1, order).masked_fill(~mask, 0)
    return emissions.gather(1, wide), replace(
        batch, word_mask=mask, labels=labels, target_mask=None
    )


class WindowMerger:
    """Puts the emissions of windows together again, post by post.

    Posts of one window come out with their batch, and those of several as soon as the last of their
    windows has come in.
    """

    def __init__(self, post_of: Sequence[int]) -> None:
        """Take the post of each row, in the order of rows; rows of a post follow each other."""
        self.post_of = post_of
        self._ends = np.cumsum(np.bincount(post_of))  # of the rows of each post
        self._waiting: dict[int, tuple[Tensor, dict[str, Tensor]]] = {}

    def put(self, rows: Sequence[int], output: Output, batch: Batch) -> Iterator[Scored]:
        """Take one batch of rows and yield the posts that are complete by it.

        Args:
            rows: which rows of the dataset are in the batch.
            output: of the network, for this batch.
            batch: as it was given to the network.
        """
        emissions, own = target_words(output.emissions, batch)
        posts = [self.post_of[row] for row in rows]
        rows_of = {post: self._rows(post) for post in posts}
        single = [place for place, post in enumerate(posts) if len(rows_of[post]) == 1]
        if len(single) == len(rows):
            yield Scored(posts, emissions, own.word_mask, output.relevance)
            return
        if single:
            relevance = {view: scores[single] for view, scores in output.relevance.items()}
            alone = [posts[place] for place in single]
            yield Scored(alone, emissions[single], own.word_mask[single], relevance)
        for place in sorted(set(range(len(rows))) - set(single)):
            relevance = {view: scores[place] for view, scores in output.relevance.items()}
            self._waiting[rows[place]] = (emissions[place][own.word_mask[place]], relevance)
        for post, of_it in rows_of.items():
            if len(of_it) > 1 and self._waiting.keys() >= set(of_it):
                yield self._joined(post)

    def _rows(self, post: int) -> range:
        return range(int(self._ends[post - 1]) if post else 0, int(self._ends[post]))

    def _joined(self, post: int) -> Scored:
        parts = [self._waiting.pop(row) for row in self._rows(post)]
        emissions = torch.cat([part for part, _ in parts])[None]  # (1, W, K)
        views = parts[0][1]
        relevance = {view: torch.stack([p[view] for _, p in parts]).mean(0)[None] for view in views}
        return Scored([post], emissions, emissions.new_ones(emissions.shape[:2]).bool(), relevance)


def decode(tagger: TaggingModel, scored: Scored) -> list[list[int]]:
    """Return the best label sequence of each whole post (Eq. 18)."""
    return tagger.paths(scored.emissions, scored.mask)


def name_labels(path: list[int], labels: list[str], words: int) -> list[str]:
    """Return the labels of a decoded path, O for the words that were cut."""
    return [labels[number] for number in path] + ["O"] * (words - len(path))


def overlap_of(text: Mapping[str, Any]) -> int | None:
    """Return the overlap of windows that a run's `text` settings ask for; None where posts are cut.

    Runs from before there were windows were cut.
    """
    if text.get("long_posts", "cut") == "cut":
        return None
    return int(text["window_overlap"])


def count_windows(post_of: Sequence[int]) -> tuple[int, int]:
    """Return how many posts are in several windows, and how many windows these have.

    Args:
        post_of: index of the post of each window.
    """
    counts = np.bincount(post_of)
    several = counts[counts > 1]
    return len(several), int(several.sum())
