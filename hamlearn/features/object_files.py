"""Files of objects found by other software: npz folders, and manifests of the demo."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from hamlearn.corpus.image_files import ByImage, file_name_of, image_id_of
from hamlearn.errors import HamlearnError
from hamlearn.io import lines
from hamlearn.vision.images import ImageError, Status

AnyRow = TypeVar("AnyRow")


@dataclass(frozen=True)
class Row:
    """The objects of one image as stored, unchecked; O objects.

    Attributes:
        place: the file, and the line in it, for messages.
        boxes: (O, 4).
        features: (O, F).
        scores: (O,), or None if the file has none.
        names: (O,) text, the class of each object by name, or None.
        labels: (O,) integers, the class of each object by number, or None.
        size: width and height of the image in pixels, or None.
    """

    place: str
    boxes: NDArray[Any]
    features: NDArray[Any]
    scores: NDArray[Any] | None = None
    names: NDArray[Any] | None = None
    labels: NDArray[Any] | None = None
    size: tuple[int, int] | None = None


class FilesByImage(Generic[AnyRow]):
    """What files hold of images, read by image id.

    Args:
        path: of the file or folder.
        readers: for each image, its id or the path of its file, and a function that reads it.
        digest: sha256 that changes with the content.

    Raises:
        HamlearnError: an image occurs twice: in two folders, or with and without extension.
    """

    def __init__(
        self, path: Path, readers: Iterable[tuple[str, Callable[[], AnyRow]]], digest: str
    ) -> None:
        self.path, self.digest = path, digest
        found: dict[str, Callable[[], AnyRow]] = {}
        ids: set[str] = set()
        for key, reader in readers:
            name, image_id = file_name_of(key), image_id_of(key)
            if name in found or image_id in found or (name == image_id and name in ids):
                raise HamlearnError(
                    f"{path}: the image {image_id!r:.80} occurs twice, expected once"
                )
            found[name] = reader
            ids.add(image_id)
        self._readers = ByImage(found)

    def __contains__(self, image_id: str) -> bool:
        return image_id in self._readers

    def __iter__(self) -> Iterator[str]:
        return iter(self._readers)

    def read(self, image_id: str) -> AnyRow:
        """Return the row of one image, or raise ImageError if it is absent or damaged."""
        reader = self._readers.get(image_id)
        if reader is None:
            raise ImageError(Status.MISSING, f"no features of this name in {self.path.name}")
        return reader()


class ObjectFiles(FilesByImage[Row]):
    """Objects of images, read by image id.

    Args:
        path, readers, digest: see `FilesByImage`.
        width: F, as in the first image that has an object; 0 if none has.
        names: every class name in use.
        has_labels: whether classes are given by number.
    """

    def __init__(
        self,
        path: Path,
        readers: Iterable[tuple[str, Callable[[], Row]]],
        digest: str,
        width: int = 0,
        names: Iterable[str] = (),
        has_labels: bool = False,
    ) -> None:
        super().__init__(path, readers, digest)
        self.width, self.names, self.has_labels = width, set(names), has_labels


# --- npz ------------------------------------------------------------------------------------------

# The array that holds each part of a row.
OWN = {part: part for part in ("boxes", "features", "scores", "names", "labels", "width", "height")}
VINVL = {
    "boxes": "bounding_boxes",
    "features": "box_features",
    "scores": "scores",
    "names": "objects",
    "width": "image_w",
    "height": "image_h",
}


def npz_folder(path: Path, arrays: Mapping[str, str] = OWN) -> ObjectFiles:
    """Open a folder of `ID.npz` or `ID.jpg.npz`, whose arrays have the names OWN or VINVL."""
    files = sorted(path.glob("*.npz"))
    if not files:
        raise HamlearnError(f"{path}: found no npz files, expected a folder of one per image")
    digest, width, has_labels = hashlib.sha256(), 0, False
    names: set[str] = set()
    for file in files:
        digest.update(f"{file.name}\0{file.stat().st_size}\0".encode())
        with suppress(ImageError):  # which is counted when its image is read
            parts = ("names", "labels") if width else ("names", "labels", "features")
            values = _load(file, arrays, parts, digest)
            names.update(map(str, values.get("names", np.empty(0)).ravel()))
            has_labels |= "labels" in values
            width = width or _width_in(file, values["features"])
    readers = ((file.stem, partial(_read_npz, file, arrays)) for file in files)
    return ObjectFiles(path, readers, digest.hexdigest(), width, names, has_labels)


def _read_npz(file: Path, arrays: Mapping[str, str]) -> Row:
    values = _load(file, arrays, arrays)
    sides = [values.pop(name, None) for name in ("width", "height")]
    if all(side is None for side in sides):
        return Row(str(file), **values)
    try:
        width, height = (int(side.item()) for side in sides if side.dtype.kind in "iuf")
    except (AttributeError, ValueError, OverflowError) as error:  # absent, several, not finite
        raise HamlearnError(
            f"{file}: width and height are {sides!r:.200}, expected two numbers"
        ) from error
    return Row(str(file), size=(width, height), **values)


def _load(
    file: Path, arrays: Mapping[str, str], parts: Iterable[str], digest: Any = None
) -> dict[str, Any]:
    """Return those parts of a row that a file has, and add its checksums to a digest."""
    values: dict[str, Any] = {}
    try:
        with np.load(file, allow_pickle=False) as stored:
            for member in stored.zip.infolist() if digest else ():
                digest.update(f"{member.filename}\0{member.CRC}\0".encode())
            for required in (arrays["boxes"], arrays["features"]):
                if required not in stored.files:
                    raise HamlearnError(
                        f"{file}: no array `{required}`, it has"
                        f" {', '.join(stored.files) or 'none'}; has it another `format`?"
                    )
            for part in parts:
                if (name := arrays.get(part, "")) in stored.files:
                    values[part] = as_text(file, name, np.asarray(stored[name]))
    except HamlearnError:
        raise
    except Exception as error:  # numpy and zipfile raise almost anything on damaged files
        if "Object arrays" in str(error):
            raise HamlearnError(
                f"{file}: the array `{name}` holds Python objects, which only unpickling reads;"
                " expected numbers or text: save it again with a fixed dtype"
            ) from error
        raise ImageError(Status.UNDECODABLE, f"its features: {error!s:.200}", file) from error
    return values


def as_text(file: Path, name: str, values: NDArray[Any]) -> NDArray[Any]:
    """Return an array with bytes, as other languages write text, decoded."""
    if values.dtype.kind != "S":
        return values
    try:
        return np.char.decode(values, "utf-8")
    except UnicodeDecodeError as error:
        raise HamlearnError(f"{file}: the array `{name}` is not UTF-8 ({error})") from error


def _width_in(file: Path, features: NDArray[Any]) -> int:
    if features.size and features.ndim != 2:
        raise HamlearnError(
            f"{file}: features are of shape {features.shape}, expected (O, F): F numbers for each"
            " of O objects"
        )
    return width_of(features)


def width_of(features: NDArray[Any]) -> int:
    """Return F of an image's features, 0 if it has no object."""
    return int(features.shape[1]) if features.ndim == 2 and len(features) else 0


# --- demo -----------------------------------------------------------------------------------------


def drawn_objects(folder: Path) -> ObjectFiles:
    """Open the true objects of a corpus drawn by the demo, from the manifest.jsonl in its folder.

    The feature of an object is its class, one-hot among all classes of the manifest in alphabetical
    order; every score is 1.
    """
    path = folder / "manifest.jsonl"
    if not path.is_file():
        raise HamlearnError(f"{folder}: no manifest.jsonl in it, expected a corpus of the demo")
    digest = hashlib.sha256()
    posts: list[tuple[Any, ...]] = []  # image id, and the arguments of `read`
    with path.open("rb") as file:
        for number, line in lines(file):
            digest.update(line)
            place = f"{path}:{number}"
            try:
                post: dict[str, Any] = json.loads(line)
                names = [str(found["class"]) for found in post["objects"]]
                boxes = np.array([found["box"] for found in post["objects"]], np.float32)
                size = (int(post["width"]), int(post["height"]))
                posts.append((str(post["id"]), place, names, boxes, size))
            except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
                raise HamlearnError(
                    f"{place}: {error!s:.200}; expected a line of a manifest of the demo, with id,"
                    " width, height, and class and box of each object"
                ) from error
    classes = sorted({name for _, _, names, *_ in posts for name in names})

    def read(place: str, names: list[str], boxes: NDArray[Any], size: tuple[int, int]) -> Row:
        one_hot = np.eye(len(classes), dtype=np.float32)[[classes.index(name) for name in names]]
        scores = np.ones(len(names), np.float32)
        return Row(place, boxes, one_hot, scores, np.array(names, object), size=size)

    readers = ((image_id, partial(read, *post)) for image_id, *post in posts)
    return ObjectFiles(path, readers, digest.hexdigest(), len(classes), classes)
