"""Features of whole images computed by other software: read by image id, and checked."""

import hashlib
import logging
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray

from hamlearn.corpus.image_files import none_found
from hamlearn.errors import HamlearnError
from hamlearn.features.object_files import FilesByImage, as_text
from hamlearn.features.precomputed import numbers
from hamlearn.features.tsv_objects import MAX_ROW, Float, check_type, decode_array, fields_of
from hamlearn.io import digest_of_file, lines, read_limited
from hamlearn.networks import PrecomputedImageSettings
from hamlearn.vision.images import Decoded, ImageError, Status
from hamlearn.vision.weights import Weights

KEY = "image_features.precomputed"
COLUMNS = ("image_id", "features")  # of TSV
MAX_IMAGE = 1 << 26  # bytes of the arrays of one image
MAX_RATIO = 20  # of what a larger archive unpacks to, to its size
_SAMPLE = 8  # images whose features tell their type
log = logging.getLogger(__name__)


class ImageRow(NamedTuple):
    """The features of one image as stored, unchecked: (F,), and a map or None."""

    place: str
    features: NDArray[Any]
    regions: NDArray[Any] | None = None


ImageFiles = FilesByImage[ImageRow]


class PrecomputedImages:
    """Features of whole images by image id, in place of a backbone.

    Attributes:
        width: F.
        grid: rows and columns of the maps; (0, 0) without maps. Maps (R, Fr) are R rows of one.
        region_width: Fr; 0 without maps.
        backend: the format of the files.
        weights: name and digest of the files, in place of a network's.

    Raises:
        HamlearnError: the files are absent or of another format.
    """

    def __init__(self, settings: PrecomputedImageSettings) -> None:
        path = Path(settings.path)
        self.backend: str = settings.format
        more = {"dtype": settings.dtype} if settings.format == "tsv" else {}
        self._files = FORMATS[settings.format](path, **more)
        self.weights = Weights(path.name, self._files.digest)
        self.width, self.region_width, self.grid = 0, 0, (0, 0)
        for name in self._files:
            with suppress(ImageError):  # which is counted when its image is read
                self._take_shape(self._files.read(name))
                break
        if not self.width:
            raise HamlearnError(f"{path}: found no readable features, expected those of images")

    def _take_shape(self, row: ImageRow) -> None:
        if row.features.ndim != 1 or not row.features.size:
            found = row.features.shape
            raise HamlearnError(f"{row.place}: features: found shape {found}, expected (F,)")
        self.width = len(row.features)
        if row.regions is not None:
            shape = row.regions.shape
            if len(shape) not in (2, 3) or not row.regions.size:
                raise HamlearnError(
                    f"{row.place}: regions: found shape {shape}, expected (rows, columns, F) or"
                    " (R, F)"
                )
            self.grid = (shape[0], shape[1] if len(shape) == 3 else 1)
            self.region_width = shape[-1]

    def check_names(self, image_ids: Collection[str]) -> None:
        """Log how many images of a corpus have features; HamlearnError if none has."""
        count = sum(image_id in self._files for image_id in image_ids)
        if not count:
            name = next(iter(image_ids), "")
            raise none_found(str(self._files.path), "features", len(image_ids), name, self._files)
        log.info("%s: features for %d of %d images", self._files.path, count, len(image_ids))

    def found(self, image_ids: Collection[str]) -> Iterator[Decoded[Any]]:
        """Yield the features of each image, and its regions (R, Fr) where the files have maps.

        The size of an image is not known, and (0, 0).

        Raises:
            HamlearnError: a row has another shape than the first, or numbers that are not finite.
        """
        for number, image_id in enumerate(image_ids):
            try:
                row = self._files.read(image_id)
            except ImageError as error:
                yield Decoded(number, (0, 0), error)
                continue
            values = {"features": numbers(row.place, "features", row.features, (self.width,))}
            if (row.regions is None) != (self.grid == (0, 0)):
                raise HamlearnError(f"{row.place}: expected regions in all images, or in none")
            if row.regions is not None:
                shape = self.grid if row.regions.ndim == 3 else self.grid[:1]
                maps = numbers(row.place, "regions", row.regions, (*shape, self.region_width))
                values["regions"] = maps.reshape(-1, self.region_width)
            yield Decoded(number, (0, 0), values)


def _npz(path: Path) -> ImageFiles:
    """Open a folder of `ID.npz` or `ID.jpg.npz`, or one npz of all images, with `ids`."""
    if path.is_dir():
        files, digest = sorted(path.glob("*.npz")), hashlib.sha256()
        if not files:
            raise HamlearnError(f"{path}: found no npz files, expected one per image")
        for file in files:
            digest.update(f"{file.name}\0{digest_of_file(file)}\0".encode())
        readers = ((file.stem, partial(_read_npz, file)) for file in files)
        return FilesByImage(path, readers, digest.hexdigest())
    try:
        arrays = _arrays(path, ("ids", "features"))
    except ImageError as error:
        raise HamlearnError(f"{path}: {error.reason}; expected a folder or file of npz") from error
    names = as_text(path, "ids", arrays["ids"])
    return _table(path, [str(name) for name in names.ravel()], arrays, digest_of_file(path))


def _read_npz(file: Path) -> ImageRow:
    arrays = _arrays(file, ("features",))
    return ImageRow(str(file), arrays["features"], arrays.get("regions"))


def _arrays(file: Path, required: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    """Return the required arrays of a file, and `regions` if it has them."""
    found, name = {}, ""
    try:
        with ZipFile(file) as archive:
            claimed, size = sum(part.file_size for part in archive.infolist()), file.stat().st_size
        if claimed > MAX_IMAGE and claimed > MAX_RATIO * size:
            raise HamlearnError(
                f"{file}: found {claimed} bytes in a file of {size}, expected at most"
                f" {MAX_RATIO} times as many: save it uncompressed"
            )
        with np.load(file, allow_pickle=False) as stored:
            for name in required:
                if name not in stored.files:
                    raise HamlearnError(
                        f"{file}: found no array `{name}` among {stored.files!s:.200}, expected"
                        f" {', '.join(required)} and, if there are maps, regions"
                    )
            for name in (*required, *({"regions"} & set(stored.files))):
                found[name] = np.asarray(stored[name])
    except HamlearnError:
        raise
    except Exception as error:  # numpy and zipfile raise almost anything on damaged files
        if "Object arrays" in str(error):
            raise HamlearnError(
                f"{file}: the array `{name}` holds Python objects, which only unpickling reads;"
                " expected numbers or text: save it again with a fixed dtype"
            ) from error
        raise ImageError(Status.UNDECODABLE, f"its features: {error!s:.200}", file) from error
    return found


def _npy(path: Path) -> ImageFiles:
    """Open an array (n, F), with the ids of its rows in the lines of a file `.txt` next to it."""
    ids = path.with_suffix(".txt")
    try:
        features = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(features, np.ndarray):
            raise HamlearnError(f"{path}: found npz, expected an array (n, F)")
        names = read_limited(ids).decode("utf-8-sig").splitlines()
    except HamlearnError:
        raise
    except Exception as error:  # numpy raises almost anything on damaged files
        raise HamlearnError(
            f"{path}: {error!s:.200}; expected an array (n, F), and {ids} with an image id a line"
        ) from error
    digest = digest_of_file(path) + digest_of_file(ids)
    return _table(path, names, {"features": features}, hashlib.sha256(digest.encode()).hexdigest())


def _table(
    path: Path, names: list[str], arrays: dict[str, NDArray[Any]], digest: str
) -> ImageFiles:
    """Return the rows of arrays of all images; `names` has the image of each."""
    for name in ("features", "regions"):
        shape = arrays[name].shape if name in arrays else (len(names),)
        if shape[:1] != (len(names),):
            raise HamlearnError(
                f"{path}: {name}: found shape {shape}, expected a row for each of {len(names)} ids"
            )

    def read(number: int) -> ImageRow:
        row = {name: arrays[name][number] for name in ("features", "regions") if name in arrays}
        return ImageRow(f"{path}: row {number}", **row)

    return FilesByImage(path, ((name, partial(read, n)) for n, name in enumerate(names)), digest)


def _tsv(path: Path, dtype: Float = "float32") -> ImageFiles:
    """Open a file with a line per image: its id, and its features of `dtype` in base64."""
    if not path.is_file():
        raise HamlearnError(f"{path}: no such file, expected TSV with one line per image")
    digest, offset = hashlib.sha256(), 0
    readers: list[tuple[str, Callable[[], ImageRow]]] = []
    with path.open("rb") as file:
        for number, line in lines(file, MAX_ROW):
            digest.update(line)
            if line.rstrip(b"\r\n") and not (number == 1 and line.rstrip() == b"\t".join(_HEADER)):
                name = fields_of(f"{path}:{number}", COLUMNS, line)["image_id"]
                reader = partial(_read_line, path, number, offset, dtype)
                readers.append((name.decode("utf-8", "replace"), reader))
            offset += len(line)
    sample = [read().features[None] for _, read in islice(readers, _SAMPLE)]
    if sample := [row for row in sample if row.size]:
        check_type(path, sample, dtype, f"{KEY}.dtype")
    return FilesByImage(path, readers, digest.hexdigest())


_HEADER = tuple(name.encode() for name in COLUMNS)


def _read_line(path: Path, number: int, offset: int, dtype: Float) -> ImageRow:
    place = f"{path}:{number}"
    with path.open("rb") as file:
        file.seek(offset)
        values = fields_of(place, COLUMNS, file.readline())
    return ImageRow(place, decode_array(place, values, "features", dtype, 1)[0])


FORMATS: dict[str, Callable[..., ImageFiles]] = {"npz": _npz, "npy": _npy, "tsv": _tsv}
