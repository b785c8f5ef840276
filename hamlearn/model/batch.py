"""The input of every model: one padded batch of posts.

Shape letters here and in every file of this package: B posts, S sub-tokens, W words, O objects (N
in the paper), D model width, R relations, L interaction rounds, K labels, F features of an image or
object as extracted.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Self, TypeVar

import torch
from torch import Tensor

from hamlearn.errors import HamlearnError

T = TypeVar("T")


@dataclass
class TensorGroup:
    """A dataclass whose fields are tensors, further groups of tensors, or None."""

    def map(self, change: Callable[[Tensor], Tensor]) -> Self:
        """Return the group with every tensor replaced by `change(tensor)`."""
        changed: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                changed[field.name] = change(value)
            elif isinstance(value, TensorGroup):
                changed[field.name] = value.map(change)
        return replace(self, **changed)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Self:
        """Return the group with every tensor on `device`."""
        return self.map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Self:
        """Return the group in page-locked memory; called by DataLoader when pin_memory is set."""
        return self.map(lambda tensor: tensor.pin_memory())

    def rows(self, rows: Tensor) -> Self:
        """Return some of the posts, padded as they were; `rows` is (n,) int64."""
        return self.map(lambda tensor: tensor[rows])


@dataclass
class ObjectBatch(TensorGroup):
    """The objects in the images of a batch.

    Attributes:
        features: (B, O, F) float, region features.
        classes: (B, O) int64, 0..C-1, and C ("none") for the whole image standing in as an object.
        mask: (B, O) bool, True on objects; O is at least 1, even where no post has an object.
        boxes: (B, O, 4) float, xyxy normalised to [0, 1].
        relations: (B, O+1, O+1) int64, relation of the edge i -> j or -1; node 0 is the image.
    """

    features: Tensor
    classes: Tensor
    mask: Tensor
    boxes: Tensor
    relations: Tensor | None = None


@dataclass
class VisualBatch(TensorGroup):
    """The images of a batch; an input that the model does not read is None.

    Attributes:
        has_image: (B,) bool, False where the image is missing or could not be decoded. Whatever
            numbers the other tensors hold for such a post are ignored.
        image: (B, F) float, pooled features of the whole image.
        regions: (B, 49, F) float, the 7x7 map of the image, row by row.
        stages: (B, 4, sum of F) float, the maps of the four stages of the image's network as 2x2,
            row by row, the stages side by side.
        objects: the objects in the images.
    """

    has_image: Tensor
    image: Tensor | None = None
    regions: Tensor | None = None
    stages: Tensor | None = None
    objects: ObjectBatch | None = None

    def masked(self, dtype: torch.dtype) -> Self:
        """Return the inputs in `dtype`; a post without an image has zeros and no objects.

        Every model reads its visual inputs through this, the one place that removes missing images.
        """

        def change(tensor: Tensor) -> Tensor:
            if tensor.is_floating_point() or tensor.dtype == torch.bool:
                missing = ~self.has_image.view(-1, *[1] * (tensor.dim() - 1))
                tensor = tensor.masked_fill(missing, 0)
            return tensor.to(dtype) if tensor.is_floating_point() else tensor

        return self.map(change)


@dataclass
class LexicalBatch(TensorGroup):
    """Whole words and their characters, numbered by a lexicon.

    Attributes:
        words: (B, W) int64, 0 on padding.
        characters: (B, W, C) int64, 0 on padding; C is the longest word's length in this batch.
    """

    words: Tensor
    characters: Tensor


@dataclass
class Batch(TensorGroup):
    """A padded batch of posts; an input that the model does not read is None.

    Attributes:
        input_ids: (B, S) int64, sub-tokens with [CLS] first.
        attention_mask: (B, S) int64, 1 on sub-tokens, 0 on padding.
        word_ids: (B, S) int64, the word that a sub-token belongs to; -1 on special tokens and
            padding.
        word_mask: (B, W) bool, True on words, at least one per post.
        labels: (B, W) int64, label indices, 0 on padding; None where there are none.
        target_mask: (B, W) bool, the words this row predicts where rows are windows over long
            posts; None where every row predicts all of its words. The network ignores it.
        lexical: whole words and characters, for a model without a text encoder.
        encoded: (B, S, D) float, the stored outputs of a frozen text encoder; None where the
            encoder has to run.
        visual: the images; None makes every model run on the text alone.
    """

    input_ids: Tensor
    attention_mask: Tensor
    word_ids: Tensor
    word_mask: Tensor
    labels: Tensor | None = None
    target_mask: Tensor | None = None
    lexical: LexicalBatch | None = None
    encoded: Tensor | None = None
    visual: VisualBatch | None = None

    def __len__(self) -> int:
        """Return B."""
        return len(self.input_ids)


def require(value: T | None, name: str) -> T:
    """Return an input that a model reads.

    Raises:
        HamlearnError: the batch lacks it.
    """
    if value is None:
        raise HamlearnError(f"found a batch without {name}, expected {name} for this model")
    return value
