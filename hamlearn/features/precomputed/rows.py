"""What every reader of objects found elsewhere gives: one row a picture, and what all share."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from hamlearn.corpus.image_files import EXTENSIONS
from hamlearn.errors import HamlearnError
from hamlearn.vision.images import ImageError, Status

Place = TypeVar("Place")


@dataclass(frozen=True)
class Row:
    """The objects of one picture as a file has them, before any check; O objects.

    Attributes:
        place: the file, and the line or group in it, for messages.
        boxes: (O, 4).
        features: (O, F).
        scores: (O,), or None where the file has none.
        names: (O,) text, the class of each object by name, or None.
        labels: (O,) integers, the class of each object by number, or None.
        size: width and height of the picture in pixels, or None.
    """

    place: str
    boxes: NDArray[Any]
    features: NDArray[Any]
    scores: NDArray[Any] | None = None
    names: NDArray[Any] | None = None
    labels: NDArray[Any] | None = None
    size: tuple[int, int] | None = None


@dataclass(frozen=True)
class Survey:
    """What all pictures share.

    Attributes:
        digest: sha256 that changes with what is stored.
        width: F, as in the first picture that has an object.
        names: every class name that is used.
        labels: whether classes are given by number somewhere.
    """

    digest: str
    width: int
    names: frozenset[str]
    labels: bool


class Reader(Protocol):
    """Gives the objects of a picture by its image id, and keeps none of them."""

    path: Path

    def survey(self) -> Survey:
        """Go through everything once, in an order that does not depend on the machine."""
        ...

    def read(self, image: str) -> Row:
        """Return one picture.

        Raises:
            ImageError: there are no features of that name, or they are broken.
            HamlearnError: the layout is another, or an array could be read by unpickling alone.
        """
        ...


class Summary:
    """Gathers a survey."""

    def __init__(self, path: Path) -> None:
        """Begin with nothing."""
        self.path = path
        self.width = 0
        self.labels = False
        self.names: set[str] = set()

    def measure(self, shape: tuple[int, ...]) -> None:
        """Take F from the shape of a picture's features, unless it has no object."""
        if len(shape) == 2 and shape[0]:
            self.width = int(shape[1])

    def survey(self, digest: str) -> Survey:
        """Return what was gathered; an error where no picture has an object."""
        if not self.width:
            raise HamlearnError(f"{self.path}: found no object, expected features of shape (O, F)")
        return Survey(digest, self.width, frozenset(self.names), self.labels)


def image_name(text: str) -> str:
    """Return the image id in a file name, which may end in the extension of a picture."""
    stem, dot, extension = text.rpartition(".")
    return stem if stem and dot + extension.lower() in EXTENSIONS else text


def by_image(path: Path, places: Iterable[tuple[str, Place]]) -> dict[str, Place]:
    """Return where each picture is; an error where one is there twice."""
    found: dict[str, Place] = {}
    for name, place in places:
        image = image_name(name)
        if image in found:
            raise HamlearnError(f"{path}: the picture {image!r:.80} is there twice, expected once")
        found[image] = place
    return found


def absent(path: Path) -> ImageError:
    """Return the failure of a picture that a reader does not have."""
    return ImageError(Status.MISSING, f"no features of this name in {path.name}")


def row_of(place: str, values: dict[str, Any]) -> Row:
    """Return a row from its parts, among which width and height may be.

    Raises:
        HamlearnError: width and height are not two numbers.
    """
    sides = [values.pop(name, None) for name in ("width", "height")]
    if all(side is None for side in sides):
        return Row(place, **values)
    if any(side is None or side.size != 1 or side.dtype.kind not in "iuf" for side in sides):
        raise HamlearnError(f"{place}: width and height are {sides!r:.200}, expected two numbers")
    if not all(np.isfinite(side).all() for side in sides if side is not None):
        raise HamlearnError(f"{place}: width and height are {sides}, expected finite numbers")
    width, height = (int(side.item()) for side in sides if side is not None)
    return Row(place, size=(width, height), **values)
