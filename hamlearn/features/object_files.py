"""Files of objects found by other software: npz folders, TSV files, and manifests of the demo."""

import base64
import binascii
import codecs
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from hamlearn.corpus.image_files import ByImage, file_name_of, image_id_of
from hamlearn.errors import HamlearnError
from hamlearn.io import lines
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


class ObjectFiles:
    """Objects of images, read by image id.

    Args:
        path: of the file or folder.
        readers: for each image, its id or the path of its file, and a function that reads it.
        digest: sha256 that changes with the content.
        width: F, as in the first image that has an object; 0 if none has.
        names: every class name in use.
        has_labels: whether classes are given by number.

    Raises:
        HamlearnError: an image occurs twice: in two folders, or with and without extension.
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
        self.path, self.digest, self.width = path, digest, width
        self.names, self.has_labels = set(names), has_labels
        found: dict[str, Callable[[], Row]] = {}
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

    def read(self, image_id: str) -> Row:
        """Return the objects of one image, or raise ImageError if it is absent or damaged."""
        reader = self._readers.get(image_id)
        if reader is None:
            raise ImageError(Status.MISSING, f"no features of this name in {self.path.name}")
        return reader()


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
            width = width or _width(values["features"])
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
                if (name := arrays.get(part)) in stored.files:
                    values[part] = np.asarray(stored[name])
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
MAX_ROW = 1 << 26  # bytes: 1000 objects of 8192 numbers in float32 are 44 million
_SYNONYMS = {"img_id": "image_id", "img_w": "image_w", "img_h": "image_h"}


def tsv_file(path: Path) -> ObjectFiles:
    """Open TSV with one line per image, arrays in base64: bottom-up attention, LXMERT."""
    if not path.is_file():
        raise HamlearnError(f"{path}: no such file, expected TSV with one line per image")
    digest, offset, columns, is_header = hashlib.sha256(), 0, COLUMNS[6], False
    readers: list[tuple[str, Callable[[], Row]]] = []
    with path.open("rb") as file:
        for number, line in lines(file, MAX_ROW):
            digest.update(line)
            if number == 1:
                columns, is_header = _columns(path, line)
            if line.rstrip(b"\r\n") and not (number == 1 and is_header):
                name = _fields(f"{path}:{number}", columns, line)["image_id"]
                reader = partial(_read_line, path, columns, number, offset)
                readers.append((name.decode("utf-8", "replace"), reader))
            offset += len(line)
    files = ObjectFiles(path, readers, digest.hexdigest(), has_labels="objects_id" in columns)
    files.width = next(filter(None, (_width(read().features) for _, read in readers)), 0)
    return files


def _columns(path: Path, line: bytes) -> tuple[tuple[str, ...], bool]:
    """Return the columns, and True if the first line is a header."""
    fields = line.removeprefix(codecs.BOM_UTF8).rstrip(b"\r\n").split(b"\t")
    names = [field[:40].decode("utf-8", "replace") for field in fields]
    columns = tuple(_SYNONYMS.get(name, name) for name in names)
    if "image_id" in columns:
        if absent := sorted(set(COLUMNS[6]) - set(columns)):
            raise HamlearnError(f"{path}:1: the header lacks {', '.join(absent)}")
        return columns, True
    if len(columns) not in COLUMNS:
        raise HamlearnError(
            f"{path}:1: {len(columns)} columns and no header, expected 6 ({', '.join(COLUMNS[6])}),"
            f" 10 ({', '.join(COLUMNS[10])}), or a header"
        )
    return COLUMNS[len(columns)], False


def _read_line(path: Path, columns: tuple[str, ...], number: int, offset: int) -> Row:
    place = f"{path}:{number}"
    with path.open("rb") as file:
        file.seek(offset)
        values = _fields(place, columns, file.readline())
    for name in ("num_boxes", "image_w", "image_h"):
        if not re.fullmatch(rb"\d{1,9}", values[name]):
            raise HamlearnError(
                f"{place}: {name} is {values[name][:40]!r}, expected a whole number"
            )
    count, *size = (int(values[name]) for name in ("num_boxes", "image_w", "image_h"))
    array = partial(_decode, place, values)
    return Row(
        place,
        array("boxes", np.float32, count, 4),
        array("features", np.float32, count),
        array("objects_conf", np.float32, count, 1)[:, 0] if "objects_conf" in columns else None,
        labels=array("objects_id", np.int64, count, 1)[:, 0] if "objects_id" in columns else None,
        size=(size[0], size[1]),
    )


def _fields(place: str, columns: tuple[str, ...], line: bytes) -> dict[str, bytes]:
    fields = line.rstrip(b"\r\n").split(b"\t")
    if len(fields) != len(columns):
        raise HamlearnError(
            f"{place}: found {len(fields)} columns, expected {len(columns)}"
            f" ({', '.join(columns)}); was it truncated?"
        )
    return dict(zip(columns, fields, strict=True))


def _decode(
    place: str,
    values: dict[str, bytes],
    name: str,
    dtype: DTypeLike,
    rows: int,
    columns: int | None = None,
) -> NDArray[Any]:
    """Decode an array (rows, columns) in base64; None is any number of columns."""
    try:
        found = np.frombuffer(base64.b64decode(values[name], validate=True), dtype)
    except (binascii.Error, ValueError) as error:
        raise HamlearnError(
            f"{place}: {name} is not base64 of {np.dtype(dtype)} numbers ({error})"
        ) from error
    width = found.size // max(rows, 1) if columns is None else columns
    if found.size != rows * width:
        expected = f"a multiple of {rows}" if columns is None else rows * columns
        raise HamlearnError(f"{place}: {name} has {found.size} numbers, expected {expected}")
    return found.reshape(rows, width)


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
