"""Objects in TSV, one line per image with arrays in base64: bottom-up attention, LXMERT."""

import base64
import binascii
import codecs
import hashlib
import logging
import re
from collections.abc import Callable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import DTypeLike, NDArray

from hamlearn.errors import HamlearnError
from hamlearn.features.object_files import ObjectFiles, Row, width_of
from hamlearn.io import lines

log = logging.getLogger(__name__)

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
Float = Literal["float16", "float32", "float64"]
FLOATS: tuple[Float, ...] = ("float16", "float32", "float64")
MANY = 64  # features of which not every second is zero by chance
HUGE = 1e20  # no network gives features so large, or all of them smaller than its reciprocal
_SAMPLE = 8  # images whose features tell their type
_SYNONYMS = {"img_id": "image_id", "img_w": "image_w", "img_h": "image_h"}


def tsv_file(path: Path, dtype: Float = "float32") -> ObjectFiles:
    """Open a file; its features are of `dtype`, and its boxes and scores of that or float32.

    Raises:
        HamlearnError: the file is absent, a line is malformed, or features are of another type.
    """
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
                name = fields_of(f"{path}:{number}", columns, line)["image_id"]
                reader = partial(_read_line, path, columns, number, offset, dtype)
                readers.append((name.decode("utf-8", "replace"), reader))
            offset += len(line)
    files = ObjectFiles(path, readers, digest.hexdigest(), has_labels="objects_id" in columns)
    rows = (read() for _, read in readers)
    sample = [*islice((row.features for row in rows if width_of(row.features)), _SAMPLE)]
    if sample:
        files.width = width_of(sample[0])
        check_type(path, sample, dtype, "object_features.precomputed.dtype")
    return files


def check_type(path: Path, sample: list[NDArray[Any]], dtype: Float, key: str) -> None:
    """Refuse features that are more likely of another type, whose bytes say nothing of it.

    The bytes of one type read as another give numbers whose powers of two spread eight times as far
    (two halves in one number), or every second of which is random, or zero.
    """
    spreads = {one: _spread(sample, one, MANY if one == dtype else 0) for one in FLOATS}
    likely = min(FLOATS, key=lambda one: spreads[one])
    found = f"F = {width_of(sample[0])}, {_described(sample)}"
    if spreads[likely] < min(spreads[dtype] / 4, 20):
        other = [rows.view(likely) for rows in sample]
        raise HamlearnError(
            f"{path}: features read as {dtype} are {found}; as {likely} they are F ="
            f" {width_of(other[0])}, {_described(other)}, which is more likely: expected"
            f" `{key}: {likely}`"
        )
    sizes = np.abs(np.concatenate([rows.ravel() for rows in sample]))
    if sizes.any() and np.isfinite(sizes).all() and not 1 / HUGE < float(sizes.max()) < HUGE:
        raise HamlearnError(
            f"{path}: features read as {dtype} are {found}, expected numbers of common size; are"
            " they big-endian, or whole numbers?"
        )
    log.info("%s: features of %s, %s", path, dtype, found)


def _spread(sample: list[NDArray[Any]], other: Float, few: int) -> float:
    """Return over how many powers of two most features spread, read as another type.

    It is infinite if they are not finite, or if every second of more than a `few` is zero.
    """
    if any(rows.shape[1] * rows.itemsize % np.dtype(other).itemsize for rows in sample):
        return np.inf
    with np.errstate(all="ignore"):
        found = [rows.view(other).astype(np.float64) for rows in sample]
        flat = np.concatenate([rows.ravel() for rows in found])
        if not np.isfinite(flat).all():
            return np.inf
    if np.count_nonzero(flat) > few and not any(rows[:, ::2].any() for rows in found):
        return np.inf
    sizes = np.log2(np.abs(flat[flat != 0]))
    low, high = np.quantile(sizes, [0.1, 0.9]) if sizes.size else (0, 0)
    return float(high - low)


def _described(sample: list[NDArray[Any]]) -> str:
    with np.errstate(invalid="ignore"):
        numbers = np.concatenate([rows.ravel() for rows in sample]).astype(np.float64)
        return f"{numbers.min():.3g} to {numbers.max():.3g}, on average {numbers.mean():.3g}"


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


def _read_line(path: Path, columns: tuple[str, ...], number: int, offset: int, dtype: Float) -> Row:
    place = f"{path}:{number}"
    with path.open("rb") as file:
        file.seek(offset)
        values = fields_of(place, columns, file.readline())
    for name in ("num_boxes", "image_w", "image_h"):
        if not re.fullmatch(rb"\d{1,9}", values[name]):
            raise HamlearnError(
                f"{place}: {name} is {values[name][:40]!r}, expected a whole number"
            )
    count, *size = (int(values[name]) for name in ("num_boxes", "image_w", "image_h"))
    array = partial(decode_array, place, values)
    return Row(
        place,
        array("boxes", dtype, count, 4),
        array("features", dtype, count),
        array("objects_conf", dtype, count, 1)[:, 0] if "objects_conf" in columns else None,
        labels=array("objects_id", np.int64, count, 1)[:, 0] if "objects_id" in columns else None,
        size=(size[0], size[1]),
    )


def fields_of(place: str, columns: tuple[str, ...], line: bytes) -> dict[str, bytes]:
    """Return the fields of a line by column; HamlearnError if there are more or fewer."""
    fields = line.rstrip(b"\r\n").split(b"\t")
    if len(fields) != len(columns):
        raise HamlearnError(
            f"{place}: found {len(fields)} columns, expected {len(columns)}"
            f" ({', '.join(columns)}); was it truncated?"
        )
    return dict(zip(columns, fields, strict=True))


def decode_array(
    place: str,
    values: dict[str, bytes],
    name: str,
    dtype: DTypeLike,
    rows: int,
    columns: int | None = None,
) -> NDArray[Any]:
    """Decode an array (rows, columns) in base64; None is any number of columns.

    Where the number of columns is known, numbers may be float32 in place of `dtype`.
    """
    try:
        content = base64.b64decode(values[name], validate=True)
        if columns is not None and len(content) == 4 * rows * columns:
            dtype = np.float32
        found = np.frombuffer(content, dtype)
    except (binascii.Error, ValueError) as error:
        raise HamlearnError(
            f"{place}: {name} is not base64 of {np.dtype(dtype)} numbers ({error})"
        ) from error
    width = found.size // max(rows, 1) if columns is None else columns
    if found.size != rows * width:
        expected = f"a multiple of {rows}" if columns is None else rows * columns
        raise HamlearnError(f"{place}: {name} has {found.size} numbers, expected {expected}")
    return found.reshape(rows, width)
