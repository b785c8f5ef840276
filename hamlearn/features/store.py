"""The HDF5 layout of features: one file per corpus and extractor.

Each row is one image, in the order in which the corpus first refers to it; n rows, F features, at
most N objects, C classes.

| dataset | images | objects |
|---|---|---|
| ids | (n) text | (n) text |
| status | (n) uint8, 0 where the image was read | the same |
| reasons | (n) text, empty where the image was read | the same |
| sizes | (n, 2) int32, width and height in pixels | the same |
| features | (n, F) float16 or float32 | (n, N, F) |
| regions | (n, R, Fr), optional | - |
| stage1, stage2 ... | (n, 4, F of the stage), optional | - |
| crops | (n, 3, 4, sum of F of the stages), optional | - |
| boxes | - | (n, N, 4) float32, xyxy normalised to [0, 1] |
| scores | - | (n, N) float32 |
| labels | - | (n, N) int32, C for "none", -1 on padding |
| counts | - | (n) int32, objects of each image |
| classes | - | (C) text |

The R regions are the last map of a network, row by row; the attribute `grid` has its rows and
columns, as `7x7`. A file of regions without that attribute is of an earlier version, and 7x7. The
crops are the stages of each of the best objects, cut out of the image, one stage after the other;
the attribute `boxes_digest` says of which objects (`hamlearn.features.crops`).
"""

import logging
import math
import platform
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import DTypeLike, NDArray

import hamlearn
from hamlearn.corpus.image_files import ByImage
from hamlearn.errors import HamlearnError
from hamlearn.features.hdf5 import ArrayFile, Layout, atomic_hdf5, write_attributes, write_texts
from hamlearn.io import canonical, digest_of_text
from hamlearn.networks import PRECOMPUTED, is_of_demo

SCHEMA_VERSION = 2
OLD_GRID = "7x7"  # of files without the attribute `grid`
CROPS = 3  # objects that are cut out of an image
_BLOCK = 2000  # images whose boxes are read at a time

# Of each column, the shape of a row and the type of its numbers.
Columns = dict[str, tuple[tuple[int, ...], DTypeLike]]

_KEYS = {
    "images": ("image_features", "backbones"),
    "objects": ("object_features", "detectors"),
}
_COMMON: Columns = {"sizes": ((2,), np.int32), "status": ((), np.uint8)}
log = logging.getLogger(__name__)


def image_columns(
    width: int,
    dtype: str,
    regions: tuple[int, int] | None = None,
    stages: Sequence[int] = (),
    crops: bool = False,
) -> Columns:
    """Return the columns of whole images, F = `width` features each.

    `regions` are R and Fr of the map that is stored too, None for no map; `stages` are F of the
    stages whose 2x2 map is stored, and with `crops` those of CROPS objects.
    """
    columns: Columns = {"features": ((width,), dtype)}
    if regions:
        columns["regions"] = (regions, dtype)
    names = stage_names(len(stages))
    columns |= {name: ((4, own), dtype) for name, own in zip(names, stages, strict=True)}
    return columns | ({"crops": ((CROPS, 4, sum(stages)), dtype)} if crops else {})


def stage_names(count: int) -> tuple[str, ...]:
    """Return the names of the columns of this number of stages, from the first."""
    return tuple(f"stage{number}" for number in range(1, count + 1))


def grid_text(grid: tuple[int, int]) -> str:
    """Return rows and columns as the attribute `grid` states them."""
    return f"{grid[0]}x{grid[1]}"


def object_columns(width: int, objects: int, dtype: str) -> Columns:
    """Return the columns of at most N objects per image, with F = `width` features each."""
    return {
        "features": ((objects, width), dtype),
        "boxes": ((objects, 4), np.float32),
        "scores": ((objects,), np.float32),
        "labels": ((objects,), np.int32),
        "counts": ((), np.int32),
    }


def attributes_of(
    kind: str,
    extractor: str,
    weights: str,
    weights_digest: str,
    random_weights: bool,
    settings: Mapping[str, Any],
    libraries: Sequence[str] = ("torch", "torchvision", "pillow", "numpy", "h5py"),
    origin: Mapping[str, Any] | None = None,
) -> dict[str, str | int | bool]:
    """Return the provenance of features, as stored in the attributes of their file.

    `settings` is everything that the features depend on, except the weights, whose sha256 is
    `weights_digest`; random weights mean that the features carry no meaning. `libraries` are
    distributions whose versions are recorded. `origin` says where a network comes from, as
    `hamlearn.vision.network_files.Network.origin` gives it.
    """
    text = canonical(dict(settings))
    versions = {"python": platform.python_version(), "hamlearn": hamlearn.__version__}
    return {
        "schema_version": SCHEMA_VERSION,
        "kind": kind,
        "extractor": extractor,
        "weights": weights,
        "weights_digest": weights_digest,
        "random_weights": random_weights,
        "settings": text,
        "settings_digest": digest_of_text(text),
        "origin": canonical(dict(origin or {})),
        "versions": canonical(versions | {name: version(name) for name in libraries}),
    }


class FeatureWriter:
    """Fills the rows of one feature file, in any order; see `feature_writer`."""

    def __init__(
        self,
        file: h5py.File,
        check_disk: Callable[[], None],
        ids: Sequence[str],
        columns: Columns,
        place: str,
    ) -> None:
        self._check_disk, self._ids, self._columns = check_disk, ids, columns
        self._place = place  # what computes the values, for messages
        self.reasons: dict[int, str] = {}
        self.missing = dict.fromkeys(range(len(ids)))  # rows that are not written yet, in order
        # Space is allocated now, so that the file does not depend on the order of the rows.
        early = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        early.set_alloc_time(h5py.h5d.ALLOC_TIME_EARLY)
        self._data = {
            name: file.create_dataset(
                name,
                (len(ids), *shape),
                dtype,
                fillvalue=-1 if name == "labels" else 0,
                dcpl=early.copy(),
            )
            for name, (shape, dtype) in sorted((columns | _COMMON).items())
        }

    def put(self, row: int, size: tuple[int, int], **values: Any) -> None:
        """Write width, height and features of one image; `values` has an array for each column.

        Raises:
            HamlearnError: a value has another shape than its column, or is not finite in its dtype.
            OSError: the disk is full; `feature_writer` turns it into an error that names the file.
        """
        for name, (shape, dtype) in self._columns.items():
            with np.errstate(over="ignore"):
                value = np.asarray(values[name]).astype(dtype)
            if value.shape != shape:
                raise HamlearnError(
                    f"{self._place}: {self._ids[row]}: `{name}` has shape {value.shape}, expected"
                    f" {shape}"
                )
            if not np.isfinite(value).all():
                raise HamlearnError(
                    f"{self._place}: {self._ids[row]}: `{name}` is not finite as"
                    f" {np.dtype(dtype)}, expected finite numbers; for large ones set `dtype:"
                    " float32`"
                )
            self._data[name][row] = value
        self._data["sizes"][row] = size
        self._check_disk()
        self.missing.pop(row, None)

    def fail(self, row: int, status: int, reason: str) -> None:
        """Record why an image has no features; its numbers stay zero."""
        self._data["status"][row] = status
        self.reasons[row] = reason
        self.missing.pop(row, None)


@contextmanager
def feature_writer(
    path: str | Path,
    ids: Sequence[str],
    columns: Columns,
    attributes: Mapping[str, Any],
    classes: Sequence[str] = (),
) -> Iterator[FeatureWriter]:
    """Write a feature file that appears at `path` when the block ends with every row written.

    `ids` has the image of each row, `columns` what is stored of it in addition to size and status.

    Raises:
        HamlearnError: a row was not written, an id occurs twice, or the disk is full.
    """
    if len(set(ids)) != len(ids):
        raise HamlearnError(f"{path}: an image id occurs twice, expected each once")
    with atomic_hdf5(path) as (file, check_disk):
        write_attributes(file, attributes)
        write_texts(file, "ids", ids)
        if attributes["kind"] == "objects":
            write_texts(file, "classes", classes)
        writer = FeatureWriter(file, check_disk, ids, columns, _key_of(attributes))
        check_disk()
        yield writer
        for row in writer.missing:
            raise HamlearnError(f"image {ids[row]} was not written; expected every image")
        write_texts(file, "reasons", [writer.reasons.get(row, "") for row in range(len(ids))])


def _key_of(attributes: Mapping[str, Any]) -> str:
    """Return the key of the configuration of what computes the features of a file."""
    section, table = _KEYS[attributes["kind"]]
    name = attributes["extractor"]
    return f"{section}.{name}" if name == PRECOMPUTED else f"{section}.{table}.{name}"


class FeatureFile(ArrayFile):
    """A feature file open for reading, of `kind` unless it is None; rows are read on demand.

    Attributes:
        attributes: see `attributes_of`.
        ids: the image id of each row.
        row_of: the row of each image, by its id or the name of its file.
        classes: names of the C object classes; empty for whole images.
        reasons: of each row, why its image has no features; empty if it has.
    """

    def __init__(self, path: str | Path, kind: str | None = None) -> None:
        kinds = ("images", "objects") if kind is None else (kind,)
        super().__init__(path, kinds, SCHEMA_VERSION, "hamlearn features")

    def rows(self, name: str, indices: Sequence[int] | NDArray[np.integer]) -> NDArray[Any]:
        """Return a copy of rows of a dataset, in the order of `indices`; see `Rows`."""
        if name not in self.arrays:
            raise self.error(f"no dataset `{name}`; it has {', '.join(sorted(self.arrays))}")
        return self.arrays[name][indices]

    def digest_of_boxes(self) -> str:
        """Return the sha256 of images and boxes, all that relations and crops depend on."""
        digest = sha256(canonical(self.ids).encode())
        for name in ("boxes", "sizes", "counts"):
            for start in range(0, len(self.ids), _BLOCK):
                digest.update(self.rows(name, range(len(self.ids))[start : start + _BLOCK]).data)
        return digest.hexdigest()

    def check_boxes_of(self, made: ArrayFile) -> None:
        """Raise HamlearnError if a file was made from other boxes than those of this file."""
        found, expected = made.attributes.get("boxes_digest"), self.digest_of_boxes()
        if found != expected:
            raise made.error(
                f"boxes_digest: found {found!s:.12}, expected {expected:.12}, that of the boxes in"
                f" {self.path}: they have changed since, or are others"
            )

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of one row of a dataset."""
        return tuple(self.rows(name, []).shape[1:])

    def columns(self) -> Columns:
        """Return the columns, without sizes and status."""
        return {
            name: (data.shape[1:], data.dtype)
            for name, data in self.arrays.items()
            if name not in _COMMON
        }

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the columns of stages, from the first."""
        return stage_names(sum(name.startswith("stage") for name in self.arrays))

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of the regions; (0, 0) without any."""
        if "regions" not in self.arrays:
            return (0, 0)
        text = str(self.attributes.get("grid", OLD_GRID))
        if not re.fullmatch(r"[1-9]\d{0,4}x[1-9]\d{0,4}", text):
            raise self.error(f"attribute `grid` is {text!r:.80}, expected rows and columns as 7x7")
        rows, columns = map(int, text.split("x"))
        return rows, columns

    def _check(self) -> None:
        shape = self.shape("features") or (0,)
        n, self.classes = len(self.texts.get("ids", [])), self.texts.get("classes", [])
        layout: Layout = {"ids": ("text", (n,)), "reasons": ("text", (n,))}
        if self.attributes["kind"] == "objects":
            columns = object_columns(shape[-1], shape[0], "float32")
            layout["classes"] = ("text", (len(self.classes),))
        else:
            stages = [(self.shape(name) or (0,))[-1] for name in self.stages]
            regions = None
            if "regions" in self.arrays:
                regions = (math.prod(self.grid), (self.shape("regions") or (0,))[-1])
            has_crops = "crops" in self.arrays
            columns = image_columns(shape[-1], "float32", regions, stages, has_crops)
        for name, (row, dtype) in (columns | _COMMON).items():
            type_ = np.dtype(dtype).name.replace("float32", "floats")  # any precision
            layout[name] = (type_, (n, *row))
        self._check_arrays(layout)
        self.ids, self.reasons = self.texts["ids"], self.texts["reasons"]
        self.row_of = ByImage({image_id: row for row, image_id in enumerate(self.ids)})
        if len(self.row_of) < n:
            raise self.error("an image id occurs twice, expected each once")


def warn_of_demo(sources: Iterable[str | None], image: str | Path | None) -> None:
    """Log a warning where a network of the demo reads an image that the demo did not draw.

    The folder of a drawn corpus has `images` and `ceiling.json`.
    """
    if any(map(is_of_demo, sources)) and image is not None:
        folder = Path(image).parent
        if not (folder.parent / "ceiling.json").is_file():
            log.warning(
                "%s: the demo's networks know only what the demo drew: their features of other"
                " images carry little meaning",
                folder,
            )


def log_summary(what: str, count: int, failed: Counter[str], random_weights: bool) -> None:
    """Log how many images have no features, by status, and warn of random weights."""
    kinds = ", ".join(f"{number} {name}" for name, number in sorted(failed.items())) or "none"
    log.info("%s: %d images, %d without features (%s)", what, count, failed.total(), kinds)
    if random_weights:
        log.warning("%s: random weights: visual scores carry no meaning", what)
