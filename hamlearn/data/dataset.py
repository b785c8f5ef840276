"""Posts to batches: tokens, labels and pictures, padded to the longest of each batch."""

import logging
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset, Sampler
from transformers import PreTrainedTokenizerBase

from hamlearn.corpus.labels import repair
from hamlearn.corpus.posts import CorpusPost
from hamlearn.data.captions import Extras
from hamlearn.data.encoded import Encoded
from hamlearn.data.lexicon import LexicalIds, Lexicon, pad_characters
from hamlearn.data.ragged import Ragged
from hamlearn.data.text_encoder import special_ids
from hamlearn.data.tokenization import Tokens
from hamlearn.data.visual import PLACES, REGIONS, VisualFeatures, VisualSource
from hamlearn.data.windows import Windows, count_windows, target_mask, windows_of
from hamlearn.errors import HamlearnError
from hamlearn.model.batch import Batch, LexicalBatch, ObjectBatch, VisualBatch

log = logging.getLogger(__name__)

CHUNK = 1000  # posts that are tokenised together
POOL = 50  # batches that are sorted by length together: larger pads less and shuffles less


@dataclass(frozen=True, slots=True)
class Example:
    """One row of a batch, ready to be padded: a post, or a window over a long one.

    Attributes:
        tokens: of the words that it reads.
        labels: (W,) int64 of these words; None where gold is not looked at.
        picture: of the post.
        target_mask: (W,) bool, the words that it speaks for; None for all.
        lexical: ids of whole words and characters; None for a model that reads neither.
        encoded: (S, D), the stored outputs of a frozen encoder; None where it has to be asked.
    """

    tokens: Tokens
    labels: NDArray[np.int64] | None
    picture: VisualFeatures | None
    target_mask: NDArray[np.bool_] | None = None
    lexical: LexicalIds | None = None
    encoded: NDArray[np.float32] | None = None


class PostDataset(Dataset[Example]):
    """The posts of one split; they are tokenised once, here, and pictures are read when needed.

    Beside the posts themselves it keeps 61 bytes a post, 8 a sub-token and 4 a word.

    It is indexed by rows. A row is a post, but where posts are read in windows, a post that is too
    long has several, one after the other; `learning.windows.WindowMerger` puts them together again.

    Attributes:
        posts: as given.
        post_of: index of the post of each row.
        lengths: sub-tokens of each row.
        cut_words: words that did not fit into `max_subtokens`, over all posts.
        cut: the same of each post.
        in_windows: posts that have several rows.
        missing: posts without a picture.
    """

    def __init__(
        self,
        posts: Sequence[CorpusPost],
        tokenizer: PreTrainedTokenizerBase,
        labels: Sequence[str] | None,
        max_subtokens: int,
        pictures: VisualSource | None = None,
        repair_labels: bool = True,
        overlap: int | None = None,
        lexicon: Lexicon | None = None,
        extras: Extras | None = None,
        encoded: Encoded | None = None,
    ) -> None:
        """Tokenise the posts and number their labels.

        Args:
            posts: the posts, in the order in which predictions come back.
            tokenizer: the encoder's own.
            labels: the K labels, in the order of the model's numbers; None where gold is not looked
                at.
            max_subtokens: S at most.
            pictures: None for a model that reads text alone.
            repair_labels: read I-X with no B-X before it as B-X.
            overlap: sub-tokens that two windows over a long post share; None cuts long posts.
            lexicon: numbers whole words and characters; None for a model that reads neither.
            extras: puts text beside the posts; None for a model that reads none.
            encoded: outputs of a frozen encoder; None where it has to be asked.

        Raises:
            HamlearnError: a post has no word, or a label that is not among `labels`, or no outputs
                in `encoded`.
        """
        self.posts, self.pictures, self.lexicon = posts, pictures, lexicon
        self.pad, self.unk = (special_ids(tokenizer).pad, special_ids(tokenizer).unk)
        self.post_of, self.cut = array("i"), array("i")
        self._windows, self._has_picture = Windows(), bytearray()
        self._labels = None if labels is None else Ragged()
        numbers = {label: number for number, label in enumerate(labels or ())}
        for start in range(0, len(posts), CHUNK):
            chunk = posts[start : start + CHUNK]
            words = [_checked(post).words for post in chunk]
            windows = windows_of(words, tokenizer, max_subtokens, overlap)
            for index, (post, of_post) in enumerate(zip(chunk, windows, strict=True), start):
                for window in of_post:
                    if extras is not None:
                        tokens = extras.after(window.tokens, post.image_id)
                        window = replace(window, tokens=tokens)
                    self._windows.append(window)
                    self.post_of.append(index)
                self.cut.append(len(post.words) - of_post[-1].target_span[1])
                self._has_picture.append(pictures is not None and post.image_id in pictures)
                if self._labels is not None:
                    given = repair(post.labels) if repair_labels else post.labels
                    self._labels.append(_number(post, given, numbers))
        self._encoded = encoded
        if encoded is not None:
            every = range(len(self))
            self._stored = encoded.find(
                (self._windows[row].tokens.ids for row in every),
                lambda row: self.posts[self.post_of[row]].id,
            )
        self.lengths = self._windows.lengths
        self.cut_words = sum(self.cut)
        self.missing = self._has_picture.count(False)
        self.in_windows, rows = count_windows(self.post_of)
        if self.cut_words:
            log.info("%d words lie past %d sub-tokens and are cut", self.cut_words, max_subtokens)
        if self.in_windows:
            log.info(
                "%d posts have more than %d sub-tokens: they are read in %d windows",
                self.in_windows,
                max_subtokens,
                rows,
            )

    def __len__(self) -> int:
        """Return the number of rows, which is that of the posts where none is in windows."""
        return len(self._windows)

    def has_picture(self, index: int) -> bool:
        """Tell whether the picture of this post was read by every extractor that is looked at."""
        return bool(self._has_picture[index])

    def __getitem__(self, index: int) -> Example:
        """Return one row with the picture of its post."""
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Example]:
        """Return some rows; their pictures are read together."""
        examples = self._examples(indices)
        if self._encoded is None:
            return examples
        hidden = self._encoded.read(self._stored[np.asarray(indices)])
        return [replace(one, encoded=own) for one, own in zip(examples, hidden, strict=True)]

    def _examples(self, indices: Sequence[int]) -> list[Example]:
        if self.pictures is None and self.lexicon is None:
            return [self._example(index) for index in indices]
        owners = [self.post_of[index] for index in indices]
        posts = {owner: self.posts[owner] for owner in owners}
        seen = list({post.image_id: None for own, post in posts.items() if self.has_picture(own)})
        read = dict(zip(seen, self.pictures.read(seen), strict=True)) if self.pictures else {}
        return [
            self._example(index, posts[owner].words, read.get(posts[owner].image_id))
            for index, owner in zip(indices, owners, strict=True)
        ]

    def _example(
        self, index: int, words: Sequence[str] = (), picture: VisualFeatures | None = None
    ) -> Example:
        window = self._windows[index]
        own = slice(window.first, window.first + window.tokens.words)
        labels = None if self._labels is None else self._labels[self.post_of[index]][own]
        owned = None if window.predicts_all else target_mask(window)
        lexical = None if self.lexicon is None else self.lexicon.encode(words[own])
        return Example(window.tokens, labels, picture, owned, lexical)

    def batch(self, indices: Sequence[int]) -> Batch:
        """Return these rows as one batch."""
        return self.collate(self.__getitems__(indices))

    def collate(self, examples: Sequence[Example]) -> Batch:
        """Pad examples of this dataset to one batch."""
        return collate(examples, self.pad, self.pictures)


class WordDropout(Dataset[Example]):
    """A dataset in which some words are [UNK], other ones in each epoch.

    Names that were not seen in training can only be told by their surroundings; this teaches it.
    Which words is decided by seed, epoch and index alone, so that a run that was killed goes on as
    it would have.
    """

    def __init__(self, posts: PostDataset, rate: float, seed: int, epoch: int) -> None:
        """Wrap `posts`; each word is replaced with probability `rate`."""
        self.posts, self.rate, self.seed, self.epoch = posts, rate, seed, epoch

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.posts)

    def __getitem__(self, index: int) -> Example:
        """Return one row, all sub-tokens of a dropped word replaced by one [UNK]."""
        return self.__getitems__([index])[0]

    def __getitems__(self, indices: Sequence[int]) -> list[Example]:
        """Return some rows; their pictures are read together."""
        examples = self.posts.__getitems__(indices)
        if not self.rate:
            return examples
        return [self._drop(*both) for both in zip(indices, examples, strict=True)]

    def _drop(self, index: int, example: Example) -> Example:
        drawn = np.random.default_rng([self.seed, self.epoch, index]).random(example.tokens.words)
        dropped = drawn < self.rate
        tokens = drop_words(example.tokens, dropped, self.posts.unk)
        lexical = example.lexical and example.lexical.drop(dropped)
        return replace(example, tokens=tokens, lexical=lexical)


def drop_words(tokens: Tokens, dropped: NDArray[np.bool_], unk: int) -> Tokens:
    """Replace all sub-tokens of each dropped word by one [UNK]; `dropped` is (W,)."""
    inside = tokens.word_ids >= 0
    first = np.diff(tokens.word_ids, prepend=-1) > 0
    hit = inside & dropped[np.maximum(tokens.word_ids, 0)] if tokens.words else inside
    kept = ~hit | first
    return Tokens(np.where(hit, unk, tokens.ids)[kept], tokens.word_ids[kept], tokens.words)


def collate(examples: Sequence[Example], pad: int, pictures: VisualSource | None) -> Batch:
    """Pad examples to one batch.

    Args:
        examples: B of them.
        pad: the id of [PAD].
        pictures: gives the widths of features; None leaves `visual` None.
    """
    tokens = [example.tokens for example in examples]
    words = [np.ones(post.words, dtype=np.bool_) for post in tokens]
    batch = Batch(
        input_ids=_pad([post.ids for post in tokens], pad),  # (B, S)
        attention_mask=_pad([np.ones_like(post.ids) for post in tokens], 0),  # (B, S)
        word_ids=_pad([post.word_ids for post in tokens], -1),  # (B, S)
        word_mask=_pad(words, False),  # (B, W)
    )
    labels = [example.labels for example in examples if example.labels is not None]
    batch.labels = _pad(labels, 0) if labels else None  # (B, W)
    if any(example.target_mask is not None for example in examples):
        owned = [
            np.ones(example.tokens.words, dtype=np.bool_)
            if example.target_mask is None
            else example.target_mask
            for example in examples
        ]
        batch.target_mask = _pad(owned, False)  # (B, W)
    lexical = [example.lexical for example in examples if example.lexical is not None]
    if lexical:
        whole = _pad([post.words for post in lexical], 0)  # (B, W)
        characters = torch.from_numpy(pad_characters(lexical, whole.shape[1]))  # (B, W, C)
        batch.lexical = LexicalBatch(whole, characters)
    encoded = [example.encoded for example in examples if example.encoded is not None]
    if encoded:
        batch.encoded = _pad(encoded, 0)  # (B, S, D)
    if pictures is not None:
        batch.visual = _visual([example.picture for example in examples], pictures)
    return batch


def _visual(found: Sequence[VisualFeatures | None], pictures: VisualSource) -> VisualBatch:
    """Return the visual inputs that the model reads; all zero for a post without a picture."""
    inputs, b = pictures.inputs, len(found)
    visual = VisualBatch(torch.tensor([picture is not None for picture in found]))
    if inputs.image:
        visual.image = _filled(found, "image", (b, pictures.image_width))
    if inputs.regions:
        visual.regions = _filled(found, "regions", (b, REGIONS, pictures.image_width))
    if inputs.stages:
        visual.stages = _filled(found, "stages", (b, PLACES, sum(pictures.stage_widths)))
    if inputs.objects:
        counts = [0 if picture is None else len(picture.classes) for picture in found]
        n = max([1, *counts])
        visual.objects = ObjectBatch(
            features=_filled(found, "objects", (b, n, pictures.object_width)),
            classes=_filled(found, "classes", (b, n), np.int64),
            mask=torch.arange(n) < torch.tensor(counts)[:, None],
            boxes=_filled(found, "boxes", (b, n, 4)),
        )
        if inputs.graphs:
            shape = (b, n + 1, n + 1)
            visual.objects.relations = _filled(found, "relations", shape, np.int64, -1)
    return visual


def _filled(
    found: Sequence[VisualFeatures | None],
    name: str,
    shape: tuple[int, ...],
    dtype: type[np.generic] = np.float32,
    value: int = 0,
) -> Tensor:
    """Return one field of all pictures as a tensor of a shape, `value` where a picture ends.

    What is stored as float16 becomes float32 at once, in PyTorch: NumPy takes ten times as long.
    """
    fields = [None if picture is None else getattr(picture, name) for picture in found]
    half = {own.dtype for own in fields if own is not None} == {np.dtype(np.float16)}
    filled = np.full(shape, value, dtype=np.float16 if half else dtype)
    for row, own in enumerate(fields):
        if own is not None:
            filled[row][tuple(slice(length) for length in own.shape)] = own
    tensor = torch.from_numpy(filled)
    return tensor.float() if half else tensor


class LengthBuckets(Sampler[list[int]]):
    """Batches of posts of similar length, so that little is padding; each post exactly once.

    With a seed, posts are shuffled, sorted by length within pools of POOL batches, and the batches
    shuffled again: the order is decided by seed and epoch alone. Without one, the longest come
    first, as evaluation likes it.
    """

    def __init__(
        self, lengths: Sequence[int], batch_size: int, seed: int | None = None, epoch: int = 0
    ) -> None:
        """Decide on the batches.

        Args:
            lengths: sub-tokens of each post.
            batch_size: B at most.
            seed: None for evaluation.
            epoch: of training.
        """
        order = np.argsort(-np.asarray(lengths), kind="stable")
        if seed is None:
            self.batches = _chunks(order, batch_size)
            return
        rng = np.random.default_rng([seed, epoch])
        shuffled = rng.permutation(len(lengths))
        self.batches = []
        for pool in _chunks(shuffled, batch_size * POOL):
            pool.sort(key=lengths.__getitem__)
            self.batches += _chunks(np.asarray(pool), batch_size)
        rng.shuffle(self.batches)

    def __iter__(self) -> Iterator[list[int]]:
        """Yield the indices of each batch."""
        return iter(self.batches)

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self.batches)


def _chunks(order: NDArray[np.integer], size: int) -> list[list[int]]:
    return [order[start : start + size].tolist() for start in range(0, len(order), size)]


def _checked(post: CorpusPost) -> CorpusPost:
    """Return a post that has a word at least, and one label a word."""
    if not post.words or len(post.words) != len(post.labels):
        raise HamlearnError(
            f"post {post.id}: found {len(post.words)} words and {len(post.labels)} labels,"
            " expected one label a word, and a word at least"
        )
    return post


def _number(post: CorpusPost, labels: Sequence[str], numbers: dict[str, int]) -> list[int]:
    for label in labels:
        if label not in numbers:
            raise HamlearnError(
                f"post {post.id}: found the label {label!r}, expected one of {', '.join(numbers)}"
            )
    return [numbers[label] for label in labels]


def _pad(rows: Sequence[NDArray[Any]], value: int) -> Tensor:
    """Pad rows to the longest of them, as one (B, longest, ...) tensor."""
    longest = max(map(len, rows))
    filled = np.full((len(rows), longest, *rows[0].shape[1:]), value, dtype=rows[0].dtype)
    for row, own in zip(filled, rows, strict=True):
        row[: len(own)] = own
    return torch.from_numpy(filled)
