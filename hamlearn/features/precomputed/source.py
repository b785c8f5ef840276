"""Objects that were found elsewhere, in the place of a detector: rows by image id, checked."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from hamlearn.errors import HamlearnError
from hamlearn.features.precomputed.drawn import DrawnObjects
from hamlearn.features.precomputed.npz import OWN, VINVL, NpzFolder
from hamlearn.features.precomputed.rows import Reader, Row
from hamlearn.features.precomputed.tsv import TsvFile
from hamlearn.settings import PrecomputedSettings
from hamlearn.vision.base import Selection, class_names, numbered_classes
from hamlearn.vision.images import Decoded, ImageError, open_image
from hamlearn.vision.weights import Weights

UNNAMED = "object"  # the one class of objects whose class is not told
_SLACK = 2.0  # pixels by which a box may leave its picture


class Precomputed:
    """Gives the objects of a picture by its image id.

    Attributes:
        name: word of the configuration.
        backend: the format.
        classes: names of the C classes, in the same order for every shard.
        feature_width: F.
        weights: name and digest of the files, in the place of a network's.
        preprocessing: how classes are named.
    """

    name = "precomputed"

    def __init__(self, settings: PrecomputedSettings) -> None:
        """Survey the files.

        Raises:
            HamlearnError: they are absent or of another format, or have no names for classes.
        """
        path = Path(settings.path)
        self.backend: str = settings.format
        self._reader = _reader(settings.format, path)
        survey = self._reader.survey()
        if settings.classes is not None:
            self.classes = class_names(settings.classes)
        elif survey.labels:
            if settings.format != "tsv":
                raise HamlearnError(
                    f"{path}: its classes are numbers; expected `names` instead, or their names in"
                    " the file `object_features.precomputed.classes`"
                )
            self.classes = numbered_classes()
        else:
            self.classes = sorted(survey.names) or [UNNAMED]
        self._label_of = {name: label for label, name in enumerate(self.classes)}
        self._told = bool(survey.names) or survey.labels
        self.feature_width = survey.width
        self.weights = Weights(path.name, survey.digest)
        self.preprocessing: dict[str, Any] = {"classes": settings.classes or "as in the features"}

    def found(
        self, pictures: Mapping[str, str | Path | None], n: int, max_pixels: int
    ) -> Iterator[Decoded[Selection]]:
        """Yield the objects of pictures, in order.

        A picture is opened only where the features do not tell its size.

        Args:
            pictures: path of each image id, or None where there is none.
            n: objects kept at most: the best by score, or the first where there are no scores.
            max_pixels: larger pictures are not opened.

        Raises:
            HamlearnError: a row is malformed; the message names its place.
        """
        for number, (image, path) in enumerate(pictures.items()):
            try:
                row = self._reader.read(image)
                size = row.size or open_image(path, max_pixels).size
            except ImageError as error:
                yield Decoded(number, (0, 0), error)
            else:
                yield Decoded(number, size, self._selection(row, size, n))

    def _selection(self, row: Row, size: tuple[int, int], n: int) -> Selection:
        """Return the n best objects; boxes without area are dropped."""
        count = len(row.boxes) if row.boxes.ndim else 0
        boxes = _checked(row.place, "boxes", row.boxes, (count, 4) if count else row.boxes.shape)
        if not count and boxes.size:
            raise HamlearnError(f"{row.place}: boxes are {boxes.shape}, expected (O, 4)")
        boxes = _inside(row.place, boxes.reshape(count, 4), size)
        shape = (count, self.feature_width) if count else row.features.shape
        features = _checked(row.place, "features", row.features, shape)
        if not count and features.size:
            raise HamlearnError(f"{row.place}: {features.size} features, expected none: no boxes")
        features = features.reshape(count, self.feature_width)
        scores = np.zeros(count, np.float32)
        if row.scores is not None:
            scores = _checked(row.place, "scores", row.scores, (count,))
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
            if self._told and count:
                raise HamlearnError(f"{row.place}: tells no classes, as others do; expected them")
            return np.zeros(count, np.int64)
        if given.shape != (count,):
            raise HamlearnError(f"{row.place}: {given.shape} classes, expected those of {count}")
        if row.names is not None:
            for name in map(str, given):
                if name not in self._label_of:
                    raise HamlearnError(
                        f"{row.place}: class {name!r:.80} is not among the {len(self.classes)} that"
                        " `object_features.precomputed.classes` names"
                    )
            return np.array([self._label_of[str(name)] for name in given], np.int64)
        if count and given.dtype.kind not in "iu":
            raise HamlearnError(f"{row.place}: classes are {given.dtype}, expected whole numbers")
        if count and not 0 <= given.min() <= given.max() < len(self.classes):
            raise HamlearnError(
                f"{row.place}: classes are {given.dtype} from {given.min()} to {given.max()},"
                f" expected whole numbers from 0 to {len(self.classes) - 1}"
            )
        return given.astype(np.int64)


def _checked(
    place: str, name: str, values: NDArray[Any], shape: tuple[int, ...]
) -> NDArray[np.float32]:
    """Return finite numbers of the shape that they must have."""
    if values.shape != shape or values.dtype.kind not in "fiu":
        raise HamlearnError(
            f"{place}: {name} are {values.dtype} of shape {values.shape}, expected numbers of"
            f" shape {shape}"
        )
    with np.errstate(over="ignore"):
        numbers = values.astype(np.float32)
    if not np.isfinite(numbers).all():
        raise HamlearnError(f"{place}: {name} are not finite, expected finite numbers of float32")
    return numbers


def _inside(place: str, boxes: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.float32]:
    """Check that boxes are xyxy in pixels of this picture."""
    width, height = size
    if min(size) < 1:
        raise HamlearnError(f"{place}: the picture is {width}x{height}, expected pixels")
    if not len(boxes):
        return boxes
    if (boxes[:, 2:] < boxes[:, :2]).any():
        raise HamlearnError(f"{place}: a box ends before it begins; expected x1, y1, x2, y2")
    if boxes.max() <= 1 and min(size) > 2:
        raise HamlearnError(f"{place}: no box reaches past 1; expected pixels, not shares")
    right, low = float(boxes[:, 2].max()), float(boxes[:, 3].max())
    if right > width + _SLACK or low > height + _SLACK or boxes.min() < -_SLACK:
        raise HamlearnError(
            f"{place}: boxes reach {right:.0f},{low:.0f} in a picture of {width}x{height}; expected"
            " pixels of that picture: are width and height swapped?"
        )
    return boxes


def _reader(form: str, path: Path) -> Reader:
    if form == "tsv":
        return TsvFile(path)
    if form == "drawn":
        return DrawnObjects(path)
    return NpzFolder(path, VINVL if form == "vinvl" else OWN)
