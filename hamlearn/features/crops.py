"""Crops of an image: its best objects, cut out and read by the network of whole images."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from hamlearn.features.store import CROPS, FeatureFile


class CropBoxes(AbstractContextManager["CropBoxes"]):
    """The boxes of the best objects of each image, from a file of objects.

    Attributes:
        digest: of all boxes, which the file of the crops' features states.

    Raises:
        HamlearnError: the file is absent or of another kind.
    """

    def __init__(self, path: str | Path) -> None:
        self._objects = FeatureFile(path, "objects")
        self.digest = self._objects.digest_of_boxes()

    def of(self, image_id: str) -> NDArray[np.floating]:
        """Return the boxes of an image (at most CROPS, 4), none if nothing was detected."""
        row = self._objects.row_of.get(image_id)
        if row is None:
            return np.zeros((0, 4), np.float32)
        boxes, labels, counts = (
            self._objects.rows(name, [row])[0] for name in ("boxes", "labels", "counts")
        )
        return best_boxes(boxes[:counts], labels[:counts], len(self._objects.classes))

    def __exit__(self, *error: object) -> None:
        self._objects.close()


def best_boxes(
    boxes: NDArray[np.floating], labels: NDArray[np.integer], none: int
) -> NDArray[np.floating]:
    """Return the boxes of the best objects; `none` is the label of an image without any."""
    return boxes[labels != none][:CROPS]


def image_and_crops(
    image: Image.Image,
    boxes: NDArray[np.floating],
    preprocess: Callable[[Image.Image], Tensor],
) -> Tensor:
    """Return an image and its crops as a network reads them, (1 + CROPS, 3, H, W).

    Args:
        image: in RGB.
        boxes: (at most CROPS, 4), xyxy in [0, 1]; what is absent is zero everywhere.
        preprocess: of the network.
    """
    sides = np.array([*image.size, *image.size])
    corners = boxes * sides
    low = np.clip(np.floor(corners[:, :2]), 0, sides[:2] - 1)
    high = np.maximum(np.ceil(corners[:, 2:]), low + 1)  # one pixel at least
    whole = preprocess(image)
    found = [whole]
    for box in np.concatenate([low, high], axis=1).astype(int).tolist():
        found.append(preprocess(image.crop(tuple(box))))
    found += [torch.zeros_like(whole)] * (1 + CROPS - len(found))
    return torch.stack(found)
