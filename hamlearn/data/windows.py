"""Posts to windows of sub-tokens, and the scores of windows back to posts.

A window is a row of the dataset: a whole post or, where the post has more sub-tokens than the
encoder reads at once, a part of it that overlaps its neighbours. The network scores every word of
every window, but a word's emissions are taken only from its target window, the one in which it has
most context. These are concatenated per post before the CRF, so that the best path is searched over
the whole post.
"""

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from hamlearn.data.tokenizer_file import tokenizer_errors
from hamlearn.errors import HamlearnError
from hamlearn.model.base import Output
from hamlearn.model.batch import Batch


@dataclass(frozen=True, slots=True)
class Window:
    """Consecutive words of a post as the encoder reads them: all of them, or a part.

    Each word of a post is in the `target_span` of one window, which predicts it; the other words of
    a window are context.
    """

    ids: NDArray[np.int64]  # (S,) sub-tokens, [CLS] first and [SEP] last
    word_ids: NDArray[np.int64]  # (S,) words counted from the window's first; -1: special tokens
    words: int  # W
    first: int  # index in the post of the window's first word
    target_span: tuple[int, int]  # start and stop, in the post
    following: int = 0  # sub-tokens at the end that are a second segment

    @property
    def segments(self) -> NDArray[np.int64]:
        """(S,), 1 on the second segment."""
        return (np.arange(len(self.ids)) >= len(self.ids) - self.following).astype(np.int64)

    @property
    def target_mask(self) -> NDArray[np.bool_]:
        """(W,), True on the words that this window predicts."""
        words = self.first + np.arange(self.words)
        return (words >= self.target_span[0]) & (words < self.target_span[1])

    def append(self, ids: Sequence[int], is_segment: bool = False) -> "Window":
        """Return the window followed by sub-tokens that belong to no word."""
        return replace(
            self,
            ids=np.append(self.ids, np.array(ids, np.int64)),
            word_ids=np.append(self.word_ids, np.full(len(ids), -1)),
            following=len(ids) if is_segment else 0,
        )

    def drop_words(self, dropped: NDArray[np.bool_], unk: int) -> "Window":
        """Replace all sub-tokens of each word that `dropped` (W,) marks by one [UNK]."""
        hit = np.append(dropped, False)[self.word_ids]  # special tokens are the word -1
        is_first = np.diff(self.word_ids, prepend=-1) > 0
        kept = ~hit | is_first
        return replace(self, ids=np.where(hit, unk, self.ids)[kept], word_ids=self.word_ids[kept])


class Ragged:
    """Rows of integers of different lengths in one array: 4 bytes a number and 8 a row."""

    def __init__(self) -> None:
        self._numbers, self._ends = array("i"), array("q", [0])

    def append(self, row: Sequence[int] | NDArray[np.integer]) -> None:
        """Add a row at the end."""
        self._numbers.frombytes(np.asarray(row, dtype=np.intc).tobytes())
        self._ends.append(len(self._numbers))

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> NDArray[np.int64]:
        """Return a copy of a row; `index` is 0 or more."""
        return np.array(self._numbers[self._ends[index] : self._ends[index + 1]], dtype=np.int64)

    @property
    def lengths(self) -> "array[int]":
        """The length of each row."""
        return array("i", np.diff(self._ends).astype(np.intc).tobytes())


def tokenize(
    posts: Sequence[Sequence[str]],
    tokenizer: PreTrainedTokenizerBase,
    max_subtokens: int,
    overlap: int | None = None,
) -> list[list[Window]]:
    """Return the windows of each post: one, or several for a post that does not fit into one.

    A word without a sub-token (some emoji, U+FFFD, U+200D) becomes [UNK], and a word longer than a
    window is read by as many sub-tokens as fit. Words are never split between windows.

    Args:
        posts: the words of each post, at least one.
        tokenizer: a fast tokenizer.
        max_subtokens: maximum S, including [CLS] and [SEP].
        overlap: maximum number of sub-tokens that neighbouring windows share; None cuts each post
            to its first window.

    Raises:
        HamlearnError: `max_subtokens` leaves no room for a word, or exceeds the encoder's limit.
    """
    limit = tokenizer.model_max_length
    if not 3 <= max_subtokens <= limit:
        raise HamlearnError(
            f"text.max_subtokens: found {max_subtokens}, expected 3 to {limit}, the limit of"
            f" {tokenizer.name_or_path}"
        )
    room = max_subtokens - 2
    cls, sep, unk = tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.unk_token_id
    words = [list(post) for post in posts]
    with tokenizer_errors(tokenizer.name_or_path, "its tokenizer failed on words of posts"):
        encoded = tokenizer(
            words, is_split_into_words=True, add_special_tokens=False, verbose=False
        )
    found = []
    for row, post in enumerate(words):
        pieces: list[list[int]] = [[] for _ in post]
        for token, word in zip(encoded["input_ids"][row], encoded.word_ids(row), strict=True):
            pieces[word].append(token)
        pieces = [of_word[:room] or [unk] for of_word in pieces]
        lengths = [len(of_word) for of_word in pieces]
        spans = window_spans(lengths, room, overlap or 0)
        if overlap is None:
            spans = spans[:1]
        targets = spans if len(spans) == 1 else target_spans(lengths, spans)
        windows = []
        for (start, stop), target in zip(spans, targets, strict=True):
            if target[0] == target[1]:
                continue
            ids = [piece for of_word in pieces[start:stop] for piece in of_word]
            word_ids = np.full(len(ids) + 2, -1, dtype=np.int64)
            word_ids[1:-1] = np.repeat(np.arange(stop - start), lengths[start:stop])
            row_ids = np.asarray([cls, *ids, sep], dtype=np.int64)
            windows.append(Window(row_ids, word_ids, stop - start, start, target))
        found.append(windows)
    return found


def window_spans(lengths: Sequence[int], room: int, overlap: int) -> list[tuple[int, int]]:
    """Return start and stop of the words of each window over a post.

    Each window holds as many whole words as fit. The next one starts as early as possible: the
    words that both hold have at most `overlap` sub-tokens, and its first new word fits.

    Args:
        lengths: (W,) sub-tokens of each word, `room` at most.
        room: sub-tokens of a window.
        overlap: maximum number of sub-tokens that two neighbours share.
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
    """Return the words that each window predicts: those that have most context in it.

    The context of a word in a window is the number of sub-tokens on its shorter side; among windows
    with equal context the first is chosen. Each window predicts consecutive words, perhaps none.
    `lengths` and `spans` are those of `window_spans`.
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
    starts = np.searchsorted(owner, numbers, side="left").tolist()
    stops = np.searchsorted(owner, numbers, side="right").tolist()
    return list(zip(starts, stops, strict=True))


@dataclass(frozen=True, slots=True)
class Scored:
    """The network's output for P whole posts."""

    posts: list[int]  # indices
    emissions: Tensor  # (P, W, K) float32
    mask: Tensor  # (P, W) bool, True on words; of a post that was cut, on those that were read
    relevance: dict[str, Tensor]  # (P,) by view; of a post in windows, the mean over them


def target_words(emissions: Tensor, batch: Batch) -> tuple[Tensor, Batch]:
    """Return emissions and a batch of the target words only, moved to the left.

    The result fits `TaggingModel.loss_of` and `paths`; a batch without windows is returned as is.
    """
    if batch.target_mask is None:
        return emissions, batch
    order = (~batch.target_mask).long().argsort(dim=1, stable=True)  # (B, W), target words first
    order = order[:, : int(batch.target_mask.sum(1).max())]
    mask = batch.target_mask.gather(1, order)
    labels = batch.labels
    if labels is not None:
        labels = labels.gather(1, order).masked_fill(~mask, 0)
    emissions = emissions.gather(1, order[:, :, None].expand(-1, -1, emissions.shape[2]))
    return emissions, replace(batch, word_mask=mask, labels=labels, target_mask=None)


class WindowMerger:
    """Merges outputs of windows post by post, in whatever order the windows are scored."""

    def __init__(self, post_of: Sequence[int]) -> None:
        self.post_of = post_of  # index of the post of each row, in ascending order
        self._windows = np.bincount(post_of)  # of each post
        self._parts: dict[int, dict[int, tuple[Tensor, dict[str, Tensor]]]] = {}

    def add(self, rows: Sequence[int], output: Output, batch: Batch) -> Iterator[Scored]:
        """Add the output for a batch of these rows, and yield the posts that it completes."""
        emissions, batch = target_words(output.emissions, batch)
        posts = [self.post_of[row] for row in rows]
        single = [place for place, post in enumerate(posts) if self._windows[post] == 1]
        if single:
            relevance = {view: scores[single] for view, scores in output.relevance.items()}
            own = [posts[place] for place in single]
            yield Scored(own, emissions[single], batch.word_mask[single], relevance)
        for place in sorted(set(range(len(rows))) - set(single)):
            relevance = {view: scores[place] for view, scores in output.relevance.items()}
            parts = self._parts.setdefault(posts[place], {})
            parts[rows[place]] = (emissions[place][batch.word_mask[place]], relevance)
            if len(parts) == self._windows[posts[place]]:
                yield self._merge(posts[place])

    def _merge(self, post: int) -> Scored:
        parts = [part for _, part in sorted(self._parts.pop(post).items())]
        emissions = torch.cat([part for part, _ in parts])[None]  # (1, W, K)
        relevance = {
            view: torch.stack([scores[view] for _, scores in parts]).mean(0)[None]
            for view in parts[0][1]
        }
        return Scored([post], emissions, emissions.new_ones(emissions.shape[:2]).bool(), relevance)
