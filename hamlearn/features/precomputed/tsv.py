"""One TSV file with a line a picture, its arrays in base64: bottom-up attention, LXMERT."""

import base64
import binascii
import hashlib
import re
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from hamlearn.errors import HamlearnError
from hamlearn.features.precomputed.rows import Row, Summary, Survey, absent, by_image

# Columns of files without a header, by their number: those of bottom-up attention's authors, and
# those of LXMERT, with classes and attributes.
COLUMNS = {
    6: ("image_id", "image_w", "image_h", "num_boxes", "boxes", "features"),
    10: (
        *("image_id", "image_h", "image_w", "objects_id", "objects_conf"),
        *("attrs_id", "attrs_conf", "num_boxes", "boxes", "features"),
    ),
}
SYNONYMS = {"img_id": "image_id", "img_w": "image_w", "img_h": "image_h"}


class TsvFile:
    """A TSV of which the place of each line is kept, and nothing else."""

    def __init__(self, path: Path) -> None:
        """Read the columns, and where each line begins."""
        if not path.is_file():
            raise HamlearnError(f"{path}: no such file, expected TSV with one line a picture")
        self.path = path
        self._columns: tuple[str, ...] = ()
        digest, places, begin = hashlib.sha256(), [], 0
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                digest.update(line)
                fields = _split(line)
                is_header = number == 1 and self._set_columns(fields)
                if not is_header and fields != [b""]:
                    name = self._named(number, fields)["image_id"].decode("utf-8", "replace")
                    places.append((name, (number, begin)))
                begin += len(line)
        self._digest = digest.hexdigest()
        self._places = by_image(path, places)

    def survey(self) -> Survey:
        """Look for the first picture that has an object; the digest is the file's."""
        summary = Summary(self.path)
        summary.labels = "objects_id" in self._columns
        for image in self._places:
            if not summary.width:
                summary.measure(self.read(image).features.shape)
        return summary.survey(self._digest)

    def read(self, image: str) -> Row:
        """Return one picture."""
        if image not in self._places:
            raise absent(self.path)
        number, begin = self._places[image]
        with self.path.open("rb") as file:
            file.seek(begin)
            values = self._named(number, _split(file.readline()))
        place = f"{self.path}:{number}"
        names = ("num_boxes", "image_w", "image_h")
        count, width, height = (_number(place, name, values[name]) for name in names)
        boxes = _numbers(place, "boxes", values, np.float32, 4 * count)
        features = _numbers(place, "features", values, np.float32)
        if features.size % max(count, 1) or (features.size and not count):
            raise HamlearnError(
                f"{place}: features are {features.size} numbers, expected a multiple of {count}"
            )
        scores, labels = (
            _numbers(place, name, values, kind, count) if name in values else None
            for name, kind in (("objects_conf", np.float32), ("objects_id", np.int64))
        )
        return Row(
            place,
            boxes.reshape(count, 4),
            features.reshape(count, features.size // max(count, 1)),
            scores,
            labels=labels,
            size=(width, height),
        )

    def _set_columns(self, fields: list[bytes]) -> bool:
        """Learn the columns from the first line, and tell whether it is a header."""
        names = [field[:40].decode("utf-8", "replace") for field in fields]
        names = [SYNONYMS.get(name, name) for name in names]
        if "image_id" not in names:
            if len(fields) not in COLUMNS:
                raise HamlearnError(
                    f"{self.path}:1: {len(fields)} columns and no header, expected 6"
                    f" ({', '.join(COLUMNS[6])}), 10 ({', '.join(COLUMNS[10])}), or a header"
                )
            self._columns = COLUMNS[len(fields)]
            return False
        lacking = sorted(set(COLUMNS[6]) - set(names))
        if lacking:
            raise HamlearnError(f"{self.path}:1: the header lacks {', '.join(lacking)}")
        self._columns = tuple(names)
        return True

    def _named(self, number: int, fields: list[bytes]) -> dict[str, bytes]:
        if len(fields) != len(self._columns):
            raise HamlearnError(
                f"{self.path}:{number}: found {len(fields)} columns, expected"
                f" {len(self._columns)} ({', '.join(self._columns)}); is the file whole?"
            )
        return dict(zip(self._columns, fields, strict=True))


def _split(line: bytes) -> list[bytes]:
    return line.rstrip(b"\r\n").split(b"\t")


def _number(place: str, name: str, text: bytes) -> int:
    if not re.fullmatch(rb"\d{1,9}", text):
        raise HamlearnError(f"{place}: {name} is {text[:40]!r}, expected a whole number")
    return int(text)


def _numbers(
    place: str, name: str, values: dict[str, bytes], kind: DTypeLike, count: int | None = None
) -> NDArray[Any]:
    """Decode an array; `count` is how many numbers it must have."""
    try:
        found = np.frombuffer(base64.b64decode(values[name], validate=True), kind)
    except (binascii.Error, ValueError) as error:
        raise HamlearnError(
            f"{place}: {name} is not base64 of {np.dtype(kind)} numbers ({error})"
        ) from error
    if count is not None and found.size != count:
        raise HamlearnError(f"{place}: {name} has {found.size} numbers, expected {count}")
    return found
