"""Objects found by other software in place of a detector's: read by image id, and checked."""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hamlearn.corpus.image_files import none_found
from hamlearn.errors import HamlearnError
from hamlearn.features.object_files import (
    VINVL,
    ObjectFiles,
    Row,
    drawn_objects,
    npz_folder,
)
from hamlearn.features.tsv_objects import tsv_file
from hamlearn.networks import PrecomputedSettings
from hamlearn.vision.base import Selection, class_names, numbered_classes
from hamlearn.vision.images import Decoded, ImageError, open_image
from hamlearn.vision.weights import Weights

FORMATS: dict[str, Callable[..., ObjectFiles]] = {
    "npz": npz_folder,
    "vinvl": partial(npz_folder, arrays=VINVL),
    "tsv": tsv_file,
    "drawn": drawn_objects,
}
UNNAMED = "object"  # the one class, if the files have no classes
log = logging.getLogger(__name__)
_SLACK = 2.0  # pixels by which a box may exceed its image


class Precomputed:
    """An `ObjectSource` that returns objects by image id, in place of a detector.

    Attributes:
        weights: name and digest of the files, in place of a network's.

    Raises:
        HamlearnError: the files are absent or of another format, or classes have no names.
    """

    def __init__(self, settings: PrecomputedSettings) -> None:
        path = Path(settings.path)
        self.backend: str = settings.format
        more = {"dtype": settings.dtype} if settings.format == "tsv" else {}
        self._files = FORMATS[settings.format](path, **more)
        if not self._files.width:
            raise HamlearnError(f"{path}: found no object, expected features of shape (O, F)")
        if settings.classes is not None:
            self.classes = class_names(settings.classes)
        elif self._files.has_labels:
            if settings.format != "tsv":
                raise HamlearnError(
                    f"{path}: its classes are numbers; expected `names` instead, or their names in"
                    " the file `object_features.precomputed.classes`"
                )
            self.classes = numbered_classes()
        else:
            self.classes = sorted(self._files.names) or [UNNAMED]
        self._label_of = {name: label for label, name in enumerate(self.classes)}
        self.feature_width = self._files.width
        self.weights = Weights(path.name, self._files.digest)
        self.preprocessing: dict[str, Any] = {"classes": settings.classes or "as in the features"}

    def check_names(self, image_ids: Collection[str]) -> None:
        """Log how many images of a corpus have objects; HamlearnError if none has."""
        count = sum(image_id in self._files for image_id in image_ids)
        if not count:
            name = next(iter(image_ids), "")
            raise none_found(str(self._files.path), "objects", len(image_ids), name, self._files)
        log.info("%s: objects for %d of %d images", self._files.path, count, len(image_ids))

    def found(
        self, image_paths: Mapping[str, str | Path | None], n: int, max_pixels: int
    ) -> Iterator[Decoded[Selection]]:
        """Yield the n best objects of each image by score, or the first if there are no scores.

        An image is opened, unless it has more than `max_pixels`, only if its size is not stored
        with the features.

        Raises:
            HamlearnError: a row is malformed; the message names its place.
        """
        for number, (image_id, path) in enumerate(image_paths.items()):
            try:
                row = self._files.read(image_id)
                size = row.size or open_image(path, max_pixels).size
            except ImageError as error:
                yield Decoded(number, (0, 0), error)
            else:
                yield Decoded(number, size, self._select(row, size, n))

    def _select(self, row: Row, size: tuple[int, int], n: int) -> Selection:
        """Return the n best objects; boxes without area are dropped."""
        count = len(row.boxes) if row.boxes.ndim else 0
        boxes = numbers(row.place, "boxes", row.boxes, (count, 4))
        _check_boxes(row.place, boxes, size)
        features = numbers(row.place, "features", row.features, (count, self.feature_width))
        given = np.zeros(count) if row.scores is None else row.scores
        scores = numbers(row.place, "scores", given, (count,))
        labels = self._labels(row, count)
        solid = np.flatnonzero((boxes[:, 2:] > boxes[:, :2]).all(axis=1))
        best = solid[np.argsort(-scores[solid], kind="stable")][:n]
        return Selection(
            *(torch.from_numpy(values[best]) for values in (boxes, scores, labels, features))
        )

    def _labels(self, row: Row, count: int) -> NDArray[np.int64]:
        """Return the class of each object by number."""
        given = row.labels if row.names is None else row.names
        if given is None:
            if count and (self._files.names or self._files.has_labels):
                raise HamlearnError(f"{row.place}: has no classes, expected them as in other files")
            return np.zeros(count, np.int64)
        if given.shape != (count,):
            raise HamlearnError(f"{row.place}: {given.shape} classes, expected those of {count}")
        if row.names is not None:
            names = [str(name) for name in given]
            if unknown := [name for name in names if name not in self._label_of]:
                raise HamlearnError(
                    f"{row.place}: class {unknown[0]!r:.80} is not among the {len(self.classes)}"
                    " that `object_features.precomputed.classes` names"
                )
            return np.array([self._label_of[name] for name in names], np.int64)
        is_whole, top = given.dtype.kind in "iu", len(self.classes) - 1
        if count and not (is_whole and 0 <= given.min() <= given.max() <= top):
            span = f" from {given.min()} to {given.max()}" if is_whole else ""
            raise HamlearnError(
                f"{row.place}: classes are {given.dtype}{span}, expected whole numbers from 0 to"
                f" {top}"
            )
        return given.astype(np.int64)


def numbers(
    place: str, name: str, values: NDArray[Any], shape: tuple[int, ...]
) -> NDArray[np.float32]:
    """Return finite numbers of the expected shape; nothing may have any shape."""
    if shape[0] == values.size == 0:
        return np.zeros(shape, np.float32)
    if values.shape != shape or values.dtype.kind not in "fiu":
        raise HamlearnError(
            f"{place}: {name} are {values.dtype} of shape {values.shape}, expected numbers of"
            f" shape {shape}"
        )
    with np.errstate(over="ignore"):
        found = values.astype(np.float32)
    if not np.isfinite(found).all():
        raise HamlearnError(f"{place}: {name} are not finite, expected finite numbers of float32")
    return found


def _check_boxes(place: str, boxes: NDArray[np.float32], size: tuple[int, int]) -> None:
    """Check that boxes are xyxy in pixels of this image."""
    width, height = size
    if min(size) < 1:
        raise HamlearnError(f"{place}: the image is {width}x{height}, expected pixels")
    if not len(boxes):
        return
    if (boxes[:, 2:] < boxes[:, :2]).any():
        raise HamlearnError(f"{place}: a box ends before it begins; expected x1, y1, x2, y2")
    if boxes.max() <= 1 and min(size) > 2:
        raise HamlearnError(f"{place}: no box reaches past 1; expected pixels, not fractions")
    right, low = boxes[:, 2:].max(axis=0).tolist()
    if right > width + _SLACK or low > height + _SLACK or boxes.min() < -_SLACK:
        raise HamlearnError(
            f"{place}: boxes reach {right:.0f},{low:.0f} in an image of {width}x{height}; expected"
            " pixels of that image: are width and height swapped?"
        )
