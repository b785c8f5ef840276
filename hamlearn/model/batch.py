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
    """The objects in the images of a batch; O is at least 1, even where no post has an object."""

    features: Tensor  # (B, O, F) float, of the regions
    classes: Tensor  # (B, O) int64, 0..C-1; C, "none": the whole image; above C: not in training
    mask: Tensor  # (B, O) bool, True on objects
    boxes: Tensor  # (B, O, 4) float, xyxy normalised to [0, 1]
    relations: Tensor | None = None  # (B, O+1, O+1) int64, edge i -> j, -1: none; node 0: image


@dataclass
class VisualBatch(TensorGroup):
    """The images of a batch; an input that the model does not read is None.

    Whatever numbers the tensors hold for a post without an image are ignored.
    """

    has_image: Tensor  # (B,) bool, False where the image is missing or could not be decoded
    image: Tensor | None = None  # (B, F) float, pooled features of the whole image
    regions: Tensor | None = None  # (B, R, Fr) float, the map of the image, row by row
    stages: Tensor | None = None  # (B, 4, sum of F) float, 2x2 maps of the stages, side by side
    crops: Tensor | None = None  # (B, 3, 4, sum of F) float, those of objects cut out of the image
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
    """Whole words and their characters, numbered by a lexicon; 0 on padding."""

    words: Tensor  # (B, W) int64
    characters: Tensor  # (B, W, C) int64, C the length of the longest word in this batch


@dataclass
class Batch(TensorGroup):
    """A padded batch of posts; an input that the model does not read is None.

    Without `visual` every model runs on the text alone. Where rows are windows over long posts,
    `target_mask` marks the words that a row predicts; the network ignores it.
    """

    input_ids: Tensor  # (B, S) int64, sub-tokens with [CLS] first
    attention_mask: Tensor  # (B, S) int64, 1 on sub-tokens, 0 on padding
    word_ids: Tensor  # (B, S) int64, the word of a sub-token; -1 on special tokens and padding
    word_mask: Tensor  # (B, W) bool, True on words, at least one per post
    labels: Tensor | None = None  # (B, W) int64, 0 on padding
    target_mask: Tensor | None = None  # (B, W) bool; None where all words are predicted
    lexical: LexicalBatch | None = None  # for a model without a text encoder
    encoded: Tensor | None = None  # (B, S, D) float, stored outputs of a frozen text encoder
    visual: VisualBatch | None = None
    segments: Tensor | None = None  # (B, S) int64, 1 on texts after the post; None: one segment

    def __len__(self) -> int:
        """Return B."""
        return len(self.input_ids)


def require(value: T | None, name: str) -> T:
    """Return an input that a model reads, or raise HamlearnError if the batch lacks it."""
    if value is None:
        raise HamlearnError(f"found a batch without {name}, expected {name} for this model")
    return value
