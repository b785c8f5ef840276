"""Files of objects found by other software: npz folders, TSV files, and manifests of the demo."""

import base64
import binascii
import hashlib
import json
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from hamlearn.corpus.image_files import EXTENSIONS
from hamlearn.errors import HamlearnError
from hamlearn.vision.images import ImageError, Status


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


class ObjectFiles(ABC):
    """Objects of images, read by image id; only their places in the files are in memory.

    Args:
        path: of the file or folder.
        places: for each image, its id or the name of its file, and what `_read` takes.

    Attributes:
        path: of the file or folder.
        digest: sha256 that changes with the content.
        width: F, as in the first image that has an object; 0 if none has.
        names: every class name in use.
        has_labels: whether classes are given by number.

    Raises:
        HamlearnError: the files are absent or of another format, or an image occurs twice.
    """

    digest: str
    has_labels = False

    def __init__(self, path: Path, places: Iterable[tuple[str, Any]]) -> None:
        self.path = path
        self.width = 0
        self.names: set[str] = set()
        self._places: dict[str, Any] = {}
        for name, place in places:
            stem, dot, extension = name.rpartition(".")
            image_id = stem if stem and dot + extension.lower() in EXTENSIONS else name
            if image_id in self._places:
                raise HamlearnError(
                    f"{path}: the image {image_id!r:.80} occurs twice, expected once"
                )
            self._places[image_id] = place

    def read(self, image_id: str) -> Row:
        """Return the objects of one image.

        Raises:
            ImageError: the image is absent, or its file is damaged.
            HamlearnError: the layout is another.
        """
        if image_id not in self._places:
            raise ImageError(Status.MISSING, f"no features of this name in {self.path.name}")
        return self._read(self._places[image_id])

    @abstractmethod
    def _read(self, place: Any) -> Row: ...


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


class NpzFolder(ObjectFiles):
    """A folder of `ID.npz` or `ID.jpg.npz`, of which only the arrays in use are read.

    Args:
        path: of the folder.
        arrays: OWN or VINVL.
    """

    def __init__(self, path: Path, arrays: Mapping[str, str]) -> None:
        files = sorted(path.glob("*.npz"))
        if not files:
            raise HamlearnError(f"{path}: found no npz files, expected a folder of one per image")
        super().__init__(path, ((file.stem, file) for file in files))
        self._arrays = arrays
        digest = hashlib.sha256()
        for file in files:
            digest.update(f"{file.name}\0{file.stat().st_size}\0".encode())
            with suppress(ImageError):  # which is counted when its image is read
                parts = ("names", "labels") if self.width else ("names", "labels", "features")
                values = self._load(file, parts, digest)
                self.names.update(map(str, values.get("names", np.empty(0)).ravel()))
                self.has_labels |= "labels" in values
                self.width = self.width or _width(values["features"])
        self.digest = digest.hexdigest()

    def _read(self, place: Path) -> Row:
        values = self._load(place, self._arrays)
        sides = [values.pop(name, None) for name in ("width", "height")]
        if all(side is None for side in sides):
            return Row(str(place), **values)
        numbers = [side for side in sides if side is not None and side.dtype.kind in "iuf"]
        if len(numbers) < 2 or not all(n.size == 1 and np.isfinite(n).all() for n in numbers):
            raise HamlearnError(
                f"{place}: width and height are {sides!r:.200}, expected two numbers"
            )
        width, height = (int(number.item()) for number in numbers)
        return Row(str(place), size=(width, height), **values)

    def _load(self, file: Path, parts: Iterable[str], digest: Any = None) -> dict[str, Any]:
        """Return those parts of a row that the file has, and add its checksums to a digest."""
        values: dict[str, Any] = {}
        try:
            with np.load(file, allow_pickle=False) as arrays:
                for member in arrays.zip.infolist() if digest else ():
                    digest.update(f"{member.filename}\0{member.CRC}\0".encode())
                for part in ("boxes", "features"):
                    if self._arrays[part] not in arrays.files:
                        raise HamlearnError(
                            f"{file}: no array `{self._arrays[part]}`, it has"
                            f" {', '.join(arrays.files) or 'none'}; has it another `format`?"
                        )
                for part in parts:
                    if (name := self._arrays.get(part)) in arrays.files:
                        values[part] = np.asarray(arrays[name])
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


def _width(features: NDArray[Any]) -> int:
    """Return F of an image's features, 0 if it has no object."""
    return int(features.shape[1]) if features.ndim == 2 and len(features) else 0


# --- TSV ------------------------------------------------------------------------------------------

# Columns of files without a header, by their number: those of bottom-up attention's authors, and
# those of LXMERT, with classes and attributes.
COLUMNS = {
    6: ("image_id", "image_w", "image_h", "num_boxes", "boxes", "features"),
    10: (
        *("image_id", "image_h", "image_w", "objects_id", "objects_conf"),
        *("attrs_id", "attrs_conf", "num_boxes", "boxes", "features"),
    ),
}
_SYNONYMS = {"img_id": "image_id", "img_w": "image_w", "img_h": "image_h"}


class TsvFile(ObjectFiles):
    """A TSV file with one line per image, its arrays in base64: bottom-up attention, LXMERT."""

    _columns: tuple[str, ...] = ()

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise HamlearnError(f"{path}: no such file, expected TSV with one line per image")
        self.path = path  # for messages
        digest, places, offset = hashlib.sha256(), [], 0
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                digest.update(line)
                fields = _split(line)
                is_header = number == 1 and self._set_columns(fields)
                if not is_header and fields != [b""]:
                    image_id = self._named(number, fields)["image_id"].decode("utf-8", "replace")
                    places.append((image_id, (number, offset)))
                offset += len(line)
        super().__init__(path, places)
        self.digest = digest.hexdigest()
        self.has_labels = "objects_id" in self._columns
        widths = (_width(self.read(image_id).features) for image_id in self._places)
        self.width = next(filter(None, widths), 0)

    def _read(self, place: tuple[int, int]) -> Row:
        number, offset = place
        with self.path.open("rb") as file:
            file.seek(offset)
            values = self._named(number, _split(file.readline()))
        line = f"{self.path}:{number}"
        names = ("num_boxes", "image_w", "image_h")
        count, width, height = (_whole_number(line, name, values[name]) for name in names)
        boxes = _decode(line, "boxes", values, np.float32, 4 * count)
        features = _decode(line, "features", values, np.float32)
        if features.size % max(count, 1) or (features.size and not count):
            raise HamlearnError(
                f"{line}: features are {features.size} numbers, expected a multiple of {count}"
            )
        scores, labels = (
            _decode(line, name, values, dtype, count) if name in values else None
            for name, dtype in (("objects_conf", np.float32), ("objects_id", np.int64))
        )
        return Row(
            line,
            boxes.reshape(count, 4),
            features.reshape(count, features.size // max(count, 1)),
            scores,
            labels=labels,
            size=(width, height),
        )

    def _set_columns(self, fields: list[bytes]) -> bool:
        """Set the columns from the first line, and return True if it is a header."""
        names = [field[:40].decode("utf-8", "replace") for field in fields]
        names = [_SYNONYMS.get(name, name) for name in names]
        is_header = "image_id" in names
        if not is_header and len(fields) not in COLUMNS:
            raise HamlearnError(
                f"{self.path}:1: {len(fields)} columns and no header, expected 6"
                f" ({', '.join(COLUMNS[6])}), 10 ({', '.join(COLUMNS[10])}), or a header"
            )
        self._columns = tuple(names) if is_header else COLUMNS[len(fields)]
        absent = sorted(set(COLUMNS[6]) - set(self._columns))
        if absent:
            raise HamlearnError(f"{self.path}:1: the header lacks {', '.join(absent)}")
        return is_header

    def _named(self, number: int, fields: list[bytes]) -> dict[str, bytes]:
        if len(fields) != len(self._columns):
            raise HamlearnError(
                f"{self.path}:{number}: found {len(fields)} columns, expected"
                f" {len(self._columns)} ({', '.join(self._columns)}); was it truncated?"
            )
        return dict(zip(self._columns, fields, strict=True))


def _split(line: bytes) -> list[bytes]:
    return line.rstrip(b"\r\n").split(b"\t")


def _whole_number(place: str, name: str, text: bytes) -> int:
    if not re.fullmatch(rb"\d{1,9}", text):
        raise HamlearnError(f"{place}: {name} is {text[:40]!r}, expected a whole number")
    return int(text)


def _decode(
    place: str, name: str, values: dict[str, bytes], dtype: DTypeLike, count: int | None = None
) -> NDArray[Any]:
    """Decode an array, which must have `count` numbers unless it is None."""
    try:
        found = np.frombuffer(base64.b64decode(values[name], validate=True), dtype)
    except (binascii.Error, ValueError) as error:
        raise HamlearnError(
            f"{place}: {name} is not base64 of {np.dtype(dtype)} numbers ({error})"
        ) from error
    if count is not None and found.size != count:
        raise HamlearnError(f"{place}: {name} has {found.size} numbers, expected {count}")
    return found


# --- demo -----------------------------------------------------------------------------------------


class DrawnObjects(ObjectFiles):
    """The true objects of a corpus drawn by the demo, from the manifest.jsonl in its folder.

    The feature of an object is its class, one-hot among all classes of the manifest in alphabetical
    order; every score is 1.
    """

    def __init__(self, path: Path) -> None:
        manifest = path / "manifest.jsonl"
        if not manifest.is_file():
            raise HamlearnError(f"{path}: no manifest.jsonl in it, expected a corpus of the demo")
        text = manifest.read_bytes()
        lines = enumerate(text.splitlines(), start=1)
        posts = [_drawn_post(f"{manifest}:{number}", line) for number, line in lines]
        super().__init__(manifest, ((image_id, post) for image_id, *post in posts))
        self.digest = hashlib.sha256(text).hexdigest()
        self.names.update(name for _, _, names, *_ in posts for name in names)
        self.width = len(self.names)

    def _read(self, place: tuple[str, list[str], NDArray[Any], tuple[int, int]]) -> Row:
        line, names, boxes, size = place
        classes = sorted(self.names)
        labels = [classes.index(name) for name in names]
        features, scores = np.eye(len(classes), dtype=np.float32)[labels], np.ones(len(names))
        return Row(line, boxes, features, scores, np.array(names, object), size=size)


def _drawn_post(
    place: str, line: bytes
) -> tuple[str, str, list[str], NDArray[Any], tuple[int, int]]:
    """Return image id, place, names and boxes of the objects, and size of the image of a post."""
    try:
        post: dict[str, Any] = json.loads(line)
        names = [str(found["class"]) for found in post["objects"]]
        boxes = np.array([found["box"] for found in post["objects"]], np.float32)
        return str(post["id"]), place, names, boxes, (int(post["width"]), int(post["height"]))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise HamlearnError(
            f"{place}: {error!s:.200}; expected a line of a manifest of the demo, with id, width,"
            " height, and class and box of each object"
        ) from error
