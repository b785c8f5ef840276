"""The posts of one split as a dataset of rows: a row is a post, or a window over a long post."""

import logging
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerBase

from hamlearn.corpus.labels import repair
from hamlearn.data.batches import Example, collate
from hamlearn.data.sources import Sources
from hamlearn.data.windows import Ragged, Window, tokenize
from hamlearn.errors import HamlearnError
from hamlearn.model.batch import Batch
from hamlearn.runs import SplitCounts
from hamlearn.settings import TextSettings

log = logging.getLogger(__name__)

CHUNK = 1000  # posts that are tokenised together


class PostLike(Protocol):
    """What a dataset reads of a post; `CorpusPost` has it."""

    @property
    def id(self) -> str:
        """Names the post in messages."""

    @property
    def image_id(self) -> str:
        """Key of the image in the visual source."""

    @property
    def words(self) -> Sequence[str]:
        """W words, at least one."""

    @property
    def labels(self) -> Sequence[str] | None:
        """W labels; None if the dataset has no labels."""


class PostDataset(Dataset[Example]):
    """The posts of one split; they are tokenised once, here, and features are read on demand.

    In addition to the posts, memory holds 66 bytes a post, 8 a sub-token and 4 a word.

    A post has one row or, if it is read in windows, several consecutive ones, whose outputs
    `hamlearn.data.windows.WindowMerger` merges.

    Args:
        posts: in the order of predictions.
        tokenizer: of the encoder.
        text: maximum length of a row, and whether longer posts are cut or read in windows.
        labels: the K labels, in the order of the model's outputs; None to ignore gold labels.
        sources: what is read in addition to the posts.
        repair_labels: read I-X with no B-X before it as B-X.

    Attributes:
        post_of: index of the post of each row.
        lengths: sub-tokens of each row.
        cut: of each post, the number of words past `text.max_subtokens` that are not read.
        counts: of the split, for run.json.

    Raises:
        HamlearnError: a post has no words, a label that is not in `labels`, or no stored outputs.
    """

    def __init__(
        self,
        posts: Sequence[PostLike],
        tokenizer: PreTrainedTokenizerBase,
        text: TextSettings,
        labels: Sequence[str] | None = None,
        sources: Sources | None = None,
        repair_labels: bool = True,
    ) -> None:
        self.posts, self.sources = posts, sources or Sources()
        self.pad, self.unk = tokenizer.pad_token_id, tokenizer.unk_token_id
        self.post_of, self.cut = array("i"), array("i")
        self._ids, self._word_ids, self._spans = Ragged(), Ragged(), Ragged()  # of each row
        self._stored, self._has_image = array("q"), bytearray()
        self._labels = None if labels is None else Ragged()
        numbers = {label: number for number, label in enumerate(labels or ())}
        overlap = text.window_overlap if text.long_posts == "windows" else None
        visual, segments = self.sources.visual, self.sources.segments
        encoded = self.sources.encoded
        self._has_text = {name: bytearray() for name in segments.texts} if segments else {}
        for start in range(0, len(posts), CHUNK):
            chunk = posts[start : start + CHUNK]
            for post in chunk:
                if not post.words:
                    raise HamlearnError(f"post {post.id}: found no words, expected at least one")
            split = tokenize([post.words for post in chunk], tokenizer, text.max_subtokens, overlap)
            for index, (post, windows) in enumerate(zip(chunk, split, strict=True), start):
                for window in windows:
                    if segments is not None:
                        window = segments.append_to(window, post)
                    self._ids.append(window.ids)
                    self._word_ids.append(window.word_ids)
                    span = (window.words, window.first, *window.target_span, window.following)
                    self._spans.append(span)
                    self.post_of.append(index)
                    if encoded is not None:
                        self._stored.append(encoded.find(window, post.id))
                self.cut.append(len(post.words) - windows[-1].target_span[1])
                self._has_image.append(visual is not None and post.image_id in visual)
                for name, has_text in segments.found(post).items() if segments else ():
                    self._has_text[name].append(has_text)
                if self._labels is not None:
                    self._labels.append(_numbered(post, numbers, repair_labels))
        self.lengths = self._ids.lengths
        rows, limit = np.bincount(self.post_of), text.max_subtokens
        several = rows[rows > 1]  # of posts in windows
        self.counts = SplitCounts(
            posts=len(posts),
            missing_images=None if visual is None else self._has_image.count(False),
            texts={name: has_text.count(True) for name, has_text in self._has_text.items()},
            cut_words=sum(self.cut),
            cut_posts=sum(map(bool, self.cut)),
            windowed_posts=len(several),
        )
        if self.counts.cut_words:
            log.info("%d words lie past %d sub-tokens and are cut", self.counts.cut_words, limit)
        if len(several):
            message = "%d posts have more than %d sub-tokens: they are read in %d windows"
            log.info(message, len(several), limit, several.sum())

    def __len__(self) -> int:
        return len(self.post_of)

    def has_image(self, index: int) -> bool:
        """Return True if there are features of the image of a post."""
        return bool(self._has_image[index])

    def has_text(self, index: int) -> dict[str, bool]:
        """Return by name whether a post has each of the texts that are read."""
        return {name: bool(has_text[index]) for name, has_text in self._has_text.items()}

    def __getitem__(self, index: int) -> Example:
        return self.__getitems__([index])[0]

    def __getitems__(self, rows: Sequence[int]) -> list[Example]:
        """Return some rows; what they need from files is read together."""
        sources, lexicon = self.sources, self.sources.lexicon
        owners = [self.post_of[row] for row in rows]
        seen = [self.posts[index].image_id for index in owners if self.has_image(index)]
        visual = iter([] if sources.visual is None else sources.visual.read(seen))
        encoded: Iterator[NDArray[np.float32]] = iter([])
        if sources.encoded is not None:
            encoded = iter(sources.encoded.read(np.asarray([self._stored[row] for row in rows])))
        examples = []
        for row, index in zip(rows, owners, strict=True):
            count, first, start, stop, following = self._spans[row].tolist()
            words = slice(first, first + count)
            examples.append(
                Example(
                    Window(
                        self._ids[row],
                        self._word_ids[row],
                        count,
                        first,
                        (start, stop),
                        following,
                    ),
                    labels=None if self._labels is None else self._labels[index][words],
                    visual=next(visual) if self.has_image(index) else None,
                    lexical=lexicon.encode(self.posts[index].words[words]) if lexicon else None,
                    encoded=next(encoded, None),
                )
            )
        return examples

    def batch(self, rows: Sequence[int]) -> Batch:
        """Return some rows as one batch."""
        return self.collate(self.__getitems__(rows))

    def collate(self, examples: Sequence[Example]) -> Batch:
        """Pad examples of this dataset to one batch."""
        segments = self.sources.segments
        has_segments = segments is not None and not segments.inputs.one_segment
        return collate(examples, self.pad, self.sources.visual, has_segments)


class WordDropout(Dataset[Example]):
    """A dataset in which some words are [UNK], different ones in each epoch.

    Names not seen in training can only be recognised by their context, which this trains. A word is
    replaced with the probability `rate`. The words depend on seed, epoch and row only, so a resumed
    run drops the same ones.
    """

    def __init__(self, data: PostDataset, rate: float, seed: int, epoch: int) -> None:
        self.data, self.rate, self.seed, self.epoch = data, rate, seed, epoch

    def __len__(self) -> int:
        return len(self.data)

    def __getitems__(self, rows: Sequence[int]) -> list[Example]:
        """Return some rows, as a DataLoader requests them."""
        examples = self.data.__getitems__(rows)
        for place, row in enumerate(rows if self.rate else ()):
            example, rng = examples[place], np.random.default_rng([self.seed, self.epoch, row])
            dropped = rng.random(example.window.words) < self.rate
            examples[place] = replace(
                example,
                window=example.window.drop_words(dropped, self.data.unk),
                lexical=example.lexical and example.lexical.drop(dropped),
            )
        return examples


def _numbered(post: PostLike, numbers: dict[str, int], repair_labels: bool) -> list[int]:
    """Return the labels of a post as indices."""
    labels = post.labels or ()
    labels = repair(labels) if repair_labels else labels
    unknown = [label for label in labels if label not in numbers]
    if unknown:
        raise HamlearnError(
            f"post {post.id}: found the label {unknown[0]!r}, expected one of {', '.join(numbers)}"
        )
    return [numbers[label] for label in labels]
