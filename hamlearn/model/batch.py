"""What the model is given: one padded batch of posts.

Shape letters here and in every file of this package: B posts, S sub-tokens, W words, O objects (N
in the paper), D model width, R relations, L interaction rounds, K labels, F features of an image or
object as extracted.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Self

import torch
from torch import Tensor


@dataclass
class Batch:
    """A padded batch of posts.

    Attributes:
        input_ids: (B, S) int64, sub-tokens with [CLS] first.
        attention_mask: (B, S) int64, 1 on sub-tokens, 0 on padding.
        word_ids: (B, S) int64, the word that a sub-token belongs to; -1 on special tokens and
            padding.
        word_mask: (B, W) bool, True on words.
        labels: (B, W) int64, label indices, 0 on padding; None where there are none.
        has_image: (B,) bool, False where the picture is missing or could not be decoded.
        image: (B, F) float, pooled features of the whole picture.
        objects: (B, O, F) float, region features.
        object_classes: (B, O) int64, 0..C-1, and C ("none") for the whole picture standing in
            as an object.
        object_mask: (B, O) bool, True on objects.
        boxes: (B, O, 4) float, xyxy normalised to [0, 1].
        relations: (B, O+1, O+1) int64, relation of the edge i -> j or -1; node 0 is the image.
        target_mask: (B, W) bool, the words this row predicts where rows are windows over long
            posts; None where every row predicts all of its words. The network ignores it.
        regions: (B, 49, F) float, the 7x7 map of the picture, row by row.
        stages: (B, 4, sum of F) float, the maps of the four stages of the picture's network as 2x2,
            row by row, one stage beside the other.
        words: (B, W) int64, numbers of whole words in the lexicon, 0 on padding.
        characters: (B, W, C) int64, numbers of the characters of each word, 0 on padding; C is the
            longest word's length here.
        encoded: (B, S, D) float, what a frozen text encoder says of each sub-token; None where it
            has to be asked.

    A field that the model does not read is None (`hamlearn.systems.Inputs`); all visual ones are
    for a model that reads text alone.
    """

    input_ids: Tensor
    attention_mask: Tensor
    word_ids: Tensor
    word_mask: Tensor
    labels: Tensor | None = None
    has_image: Tensor | None = None
    image: Tensor | None = None
    objects: Tensor | None = None
    object_classes: Tensor | None = None
    object_mask: Tensor | None = None
    boxes: Tensor | None = None
    relations: Tensor | None = None
    target_mask: Tensor | None = None
    regions: Tensor | None = None
    stages: Tensor | None = None
    words: Tensor | None = None
    characters: Tensor | None = None
    encoded: Tensor | None = None

    def __len__(self) -> int:
        """Return B."""
        return len(self.input_ids)

    def to(self, device: torch.device | str, non_blocking: bool = False) -> Self:
        """Return the batch with every tensor on `device`."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=non_blocking))

    def pin_memory(self) -> Self:
        """Return the batch in page-locked memory; called by DataLoader when pin_memory is set."""
        return self._map(lambda tensor: tensor.pin_memory())

    def rows(self, rows: Tensor) -> Self:
        """Return the batch of some of its posts, padded as they were; `rows` is (n,) int64."""
        return self._map(lambda tensor: tensor[rows])

    def _map(self, change: Callable[[Tensor], Tensor]) -> Self:
        changed: dict[str, Any] = {
            field.name: value if value is None else change(value)
            for field in fields(self)
            for value in [getattr(self, field.name)]
        }
        return type(self)(**changed)
