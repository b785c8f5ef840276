"""The HDF5 layout of features: one file per corpus and extractor, written whole or not at all.

Every row is one picture, in the order in which the corpus first shows it; n rows, F features, N
objects at most, C classes.

| dataset | images | objects |
|---|---|---|
| ids | (n) text | (n) text |
| status | (n) uint8, 0 where the picture was read | the same |
| reasons | (n) text, empty where the picture was read | the same |
| sizes | (n, 2) int32, width and height in pixels | the same |
| features | (n, F) float16 or float32 | (n, N, F) |
| regions | (n, 49, F), on request | - |
| stage1 to stage4 | (n, 4, F of the stage), on request | - |
| boxes | - | (n, N, 4) float32, xyxy normalised to [0, 1] |
| scores | - | (n, N) float32 |
| labels | - | (n, N) int32, C for "none", -1 on padding |
| counts | - | (n) int32, objects of each picture |
| classes | - | (C) text |

Numbers are stored contiguous and uncompressed, so that each row has its place in the file; text is
UTF-8 of fixed length, padded.
"""

import platform
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import DTypeLike, NDArray

import hamlearn
from hamlearn.errors import HamlearnError
from hamlearn.features.hdf5 import member, opened, root_attributes, texts
from hamlearn.features.hdf5_output import Sink, atomic_hdf5, put_attributes, put_texts
from hamlearn.features.hdf5_rows import RowReader
from hamlearn.io import canonical, digest_of_text

SCHEMA_VERSION = 2
KINDS = {
    "images": ("features", "sizes", "status"),
    "objects": ("features", "boxes", "scores", "labels", "counts", "sizes", "status"),
}

Columns = dict[str, tuple[tuple[int, ...], DTypeLike]]

_TEXTS = ("ids", "classes", "reasons")
STAGES = ("stage1", "stage2", "stage3", "stage4")

_KINDS_OF = dict.fromkeys(("features", "regions", *STAGES, "boxes", "scores"), "f") | dict.fromkeys(
    ("labels", "counts", "sizes", "status"), "iu"
)
_COMMON: Columns = {"sizes": ((2,), np.int32), "status": ((), np.uint8)}


def image_columns(
    width: int, dtype: str, regions: bool = False, stages: Sequence[int] = ()
) -> Columns:
    """Return name, shape of a row and type of what is stored of whole pictures.

    Args:
        width: F.
        dtype: of what is stored.
        regions: the 7x7 map as well.
        stages: F of each stage whose map is stored as 2x2; none for no stages.
    """
    columns: Columns = {"features": ((width,), dtype)}
    if regions:
        columns["regions"] = ((49, width), dtype)
    return columns | {
        name: ((4, own), dtype) for name, own in zip(STAGES, stages, strict=bool(stages))
    }


def object_columns(width: int, objects: int, dtype: str) -> Columns:
    """Return name, shape of a row and type of what is stored of at most N objects."""
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
) -> dict[str, str | int | bool]:
    """Return where features come from, as kept on the root of their file.

    Args:
        kind: "images" or "objects".
        extractor: name of the network.
        weights: name or file name of its weights.
        weights_digest: sha256 of the weights.
        random_weights: whether the features carry no meaning.
        settings: everything else that the features depend on.
        libraries: distributions whose versions are kept.
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
        "versions": canonical(versions | {name: version(name) for name in libraries}),
    }


class FeatureWriter:
    """Fills the rows of one feature file, in any order."""

    def __init__(self, file: h5py.File, sink: Sink, ids: Sequence[str], columns: Columns) -> None:
        """Make the datasets at their full size."""
        self._sink = sink
        self._ids = list(ids)
        self._columns = columns
        self._reasons = [""] * len(ids)
        self._written = np.zeros(len(ids), dtype=bool)
        early = h5py.h5p.create(h5py.h5p.DATASET_CREATE)  # same places in whatever order rows come
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
        """Write what was found in one picture.

        Args:
            row: of the picture.
            size: its width and height in pixels.
            values: one array for each column.

        Raises:
            HamlearnError: a value has another shape than its column, or is not finite in the type
                in which it is stored.
            OSError: the disk is full; `feature_writer` makes it an error that names the file.
        """
        for name, (shape, dtype) in self._columns.items():
            with np.errstate(over="ignore"):
                value = np.asarray(values[name]).astype(dtype)
            if value.shape != shape:
                raise HamlearnError(
                    f"{self._ids[row]}: `{name}` has shape {value.shape}, expected {shape}"
                )
            if not np.isfinite(value).all():
                raise HamlearnError(
                    f"{self._ids[row]}: `{name}` is not finite as {np.dtype(dtype)}, expected "
                    "finite numbers; for large ones set `dtype: float32`"
                )
            self._data[name][row] = value
        self._data["sizes"][row] = size
        self._sink.check()
        self._written[row] = True

    def fail(self, row: int, status: int, reason: str) -> None:
        """Keep why a picture gave nothing; its numbers stay zero."""
        self._data["status"][row] = status
        self._reasons[row] = reason
        self._written[row] = True

    def _finish(self, file: h5py.File) -> None:
        if not self._written.all():
            missing = self._ids[int(np.flatnonzero(~self._written)[0])]
            raise HamlearnError(f"picture {missing} was not written; expected every picture")
        put_texts(file, "reasons", self._reasons)


@contextmanager
def feature_writer(
    path: str | Path,
    ids: Sequence[str],
    columns: Columns,
    attributes: Mapping[str, Any],
    classes: Sequence[str] = (),
) -> Iterator[FeatureWriter]:
    """Write a feature file that appears when the block ends well, with every row filled.

    Args:
        path: of the finished file.
        ids: image ids, one a row.
        columns: what is stored of each picture.
        attributes: as given by `attributes_of`.
        classes: the names of object classes.

    Raises:
        HamlearnError: a row was left out, the same id is given twice, or the disk is full.
    """
    if len(set(ids)) != len(ids):
        raise HamlearnError(f"{path}: an image id comes twice, expected each once")
    with atomic_hdf5(path) as (file, sink):
        put_attributes(file, attributes)
        put_texts(file, "ids", ids)
        if attributes["kind"] == "objects":
            put_texts(file, "classes", classes)
        writer = FeatureWriter(file, sink, ids, columns)
        sink.check()
        yield writer
        writer._finish(file)


class FeatureFile(AbstractContextManager["FeatureFile"]):
    """A feature file open for reading; rows of numbers are read when they are asked for.

    Attributes:
        path: of the file.
        attributes: see `attributes_of`.
        ids: the image id of each row.
        row_of: the row of each image id.
        classes: names of the C object classes; none for whole pictures.
        reasons: of each row, why its picture could not be used; empty where it could.
    """

    def __init__(self, path: str | Path) -> None:
        """Open a file and check its layout.

        Raises:
            HamlearnError: the file is absent, not HDF5, or of another layout or version; the
                message says what was found and what was expected.
        """
        self.path = Path(path)
        with opened(path, "features made by `hamlearn`") as file:
            self.attributes = root_attributes(file)
            members = {name: member(file, name) for name in file}
            self._check(members)
            self.ids = texts(members["ids"])
            self.row_of = {image: row for row, image in enumerate(self.ids)}
            if len(self.row_of) < len(self.ids):
                raise HamlearnError(f"{path}: an image id comes twice, expected each once")
            self.classes = texts(members["classes"]) if "classes" in members else []
            self.reasons = texts(members["reasons"])
            self._reader = RowReader(path)
            self._data = {
                name: self._reader.rows_of(dataset)
                for name, dataset in members.items()
                if name not in _TEXTS
            }

    def rows(self, name: str, indices: Iterable[int]) -> NDArray[Any]:
        """Return the rows of a dataset, copied.

        Args:
            name: of the dataset.
            indices: row numbers, in any order.

        Raises:
            HamlearnError: the file has no such dataset, or cannot be read any more.
            IndexError: the dataset has no such row.
        """
        if name not in self._data:
            raise HamlearnError(
                f"{self.path}: no dataset `{name}`; it has {', '.join(sorted(self._data))}"
            )
        return self._data[name][np.fromiter(indices, dtype=np.int64)]

    def has(self, name: str) -> bool:
        """Tell whether the file has a dataset of this name."""
        return name in self._data

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of one row of a dataset."""
        return tuple(self.rows(name, []).shape[1:])

    def columns(self) -> Columns:
        """Return name, shape of a row and type of what is stored beside sizes and status."""
        return {
            name: (data.shape[1:], data.dtype)
            for name, data in self._data.items()
            if name not in _COMMON
        }

    def close(self) -> None:
        """Close the file."""
        self._reader.close()

    def __exit__(self, *error: object) -> None:
        self.close()

    def _check(self, members: Mapping[str, Any]) -> None:
        found = self.attributes.get("schema_version")
        if found != SCHEMA_VERSION:
            raise HamlearnError(
                f"{self.path}: layout version {found}, expected {SCHEMA_VERSION}; extract again"
            )
        kind = self.attributes.get("kind")
        if kind not in KINDS:
            raise HamlearnError(f"{self.path}: holds {kind!r}, expected one of {', '.join(KINDS)}")
        needed = ("ids", "reasons", *(("classes",) if kind == "objects" else ()), *KINDS[kind])
        for name in dict.fromkeys((*needed, *members)):
            if not isinstance(members.get(name), h5py.Dataset):
                raise HamlearnError(f"{self.path}: no dataset `{name}`, expected {needed}")
        n = members["ids"].size
        for name, dataset in members.items():
            if dataset.shape[:1] != (n,) and (name != "classes" or dataset.ndim != 1):
                raise HamlearnError(
                    f"{self.path}: `{name}` has shape {dataset.shape}, expected {n} rows, one an id"
                )
        objects = members["features"].shape[1:2] if kind == "objects" else ()
        shapes = {"features": (n, *objects, None), "sizes": (n, 2), "status": (n,)}
        if kind == "objects":
            shapes |= {"boxes": (n, *objects, 4), "counts": (n,)}
            shapes |= {"scores": (n, *objects), "labels": (n, *objects)}
        for name, shape in shapes.items():
            found = members[name].shape
            if len(found) != len(shape) or any(
                want not in (None, have) for want, have in zip(shape, found, strict=True)
            ):
                raise HamlearnError(f"{self.path}: `{name}` has shape {found}, expected {shape}")
        for name, dataset in members.items():
            kind = dataset.dtype.kind
            text = h5py.check_string_dtype(dataset.dtype) is not None
            if text != (name in _TEXTS) or kind not in _KINDS_OF.get(name, kind):
                expected = "text" if name in _TEXTS else "numbers"
                raise HamlearnError(
                    f"{self.path}: `{name}` is {dataset.dtype}, expected {expected}"
                )
