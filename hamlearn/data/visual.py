"""Features of images by image id, read from the feature files and the graph file."""

import logging
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hamlearn.errors import HamlearnError
from hamlearn.features.graphs import Graphs
from hamlearn.features.relations import RELATIONS
from hamlearn.features.store import FeatureFile
from hamlearn.runs import FeatureSizes, VisionNetwork
from hamlearn.settings import GraphSettings
from hamlearn.systems import Inputs

log = logging.getLogger(__name__)
HAMLEARNING_INPUTS = Inputs(image=True, objects=True, graphs=True)
OK = 0  # the status of an image that was read


def _nothing() -> NDArray[Any]:
    return np.empty(0)


@dataclass(frozen=True, slots=True)
class VisualFeatures:
    """Features of one image, without padding; empty for what the system does not read.

    The fields of O objects and their relations are those of `ObjectBatch`.
    """

    image: NDArray[np.floating] = field(default_factory=_nothing)  # (F,) of the whole image
    regions: NDArray[np.floating] = field(default_factory=_nothing)  # (R, Fr), its map row by row
    stages: NDArray[np.floating] = field(default_factory=_nothing)  # (4, sum of F)
    crops: NDArray[np.floating] = field(default_factory=_nothing)  # (3, 4, sum of F)
    objects: NDArray[np.floating] = field(default_factory=_nothing)  # (O, F)
    classes: NDArray[np.integer] = field(default_factory=_nothing)  # (O,)
    boxes: NDArray[np.floating] = field(default_factory=_nothing)  # (O, 4)
    relations: NDArray[np.integer] = field(default_factory=_nothing)  # (O+1, O+1)


class VisualSource(Protocol):
    """Features by image id, all with the same widths."""

    inputs: Inputs  # which features are read
    sizes: FeatureSizes  # 0 for what is not read
    classes: list[str]  # names of the C object classes, without "none"

    @property
    def networks(self) -> dict[str, VisionNetwork]:
        """The networks that computed the features, by kind of file."""
        ...

    @property
    def graph(self) -> GraphSettings | None:
        """The thresholds of the relations, if they are read."""
        ...

    def __contains__(self, image_id: str) -> bool: ...

    def read(self, image_ids: Sequence[str]) -> list[VisualFeatures]:
        """Return the features of images, each of which is in the source."""
        ...

    def names(self, image_id: str) -> list[str]:
        """Return the class names of an image's objects in descending order of score."""
        ...


class VisualReader(AbstractContextManager["VisualReader"]):
    """Reads features by image id from files, on demand. An image is in it if all files have it.

    Files of features that `inputs` lacks are not opened.

    Attributes:
        inputs, sizes, classes: see `VisualSource`.
        paths: of the files that are read, by kind.
        class_names: names of the classes by number, None for "none", which is C; from C+1 follow
            those of classes that the run of a model never saw (see `number_classes`).

    Raises:
        HamlearnError: a file is absent or of another kind, or lacks features that are read, or
            `graphs` was made from other objects.
    """

    def __init__(
        self,
        images: str | Path | None = None,
        objects: str | Path | None = None,
        graphs: str | Path | None = None,
        inputs: Inputs = HAMLEARNING_INPUTS,
    ) -> None:
        paths = {"images": images, "objects": objects, "graphs": graphs}
        self.inputs = inputs
        self.paths: dict[str, str | Path] = {}
        self._files: dict[str, FeatureFile] = {}
        self._graphs: Graphs | None = None
        with ExitStack() as stack:
            for kind in inputs.files:  # graphs come last
                path = paths[kind]
                if path is None:
                    raise HamlearnError(f"features: found no {kind}, expected a file of them")
                self.paths[kind] = path
                if kind == "graphs":
                    self._graphs = stack.enter_context(Graphs(path, self.objects))
                else:
                    self._files[kind] = stack.enter_context(FeatureFile(path, kind))
            self._image_fields = self._datasets()
            self._open = stack.pop_all()
        self._has_features = {
            kind: file.rows("status", range(len(file.ids))) == OK
            for kind, file in self._files.items()
        }
        self._warn_of_partial_images()
        self.classes = list(self.objects.classes) if "objects" in self._files else []
        self.class_names: list[str | None] = [*self.classes, None]
        self._numbers: NDArray[np.integer] | None = None  # of the classes in the file, and "none"
        self.sizes = FeatureSizes(
            image=self.images.shape("features")[-1] if "images" in self._files else 0,
            object=self.objects.shape("features")[-1] if inputs.objects else 0,
            classes=len(self.classes) if inputs.objects else 0,
            relations=len(RELATIONS) if inputs.graphs else 0,
            regions=self.images.shape("regions")[-1] if inputs.regions else 0,
            grid=self.images.grid if inputs.regions else (0, 0),
            stages=tuple(
                self.images.shape(name)[-1]
                for name in (self.images.stages if inputs.reads_stages else ())
            ),
        )

    def _warn_of_partial_images(self) -> None:
        """Say which file lacks images that another has, such as that of a detector without them."""
        known = {
            kind: {file.ids[row] for row in np.flatnonzero(self._has_features[kind])}
            for kind, file in self._files.items()
        }
        some = set().union(*known.values())
        for kind, ids in known.items():
            if len(ids) < len(some):
                log.warning(
                    "%s: found no features of %d images that another file has, which therefore"
                    " count as missing",
                    self._files[kind].path,
                    len(some - ids),
                )

    def _datasets(self) -> dict[str, tuple[str, ...]]:
        """Return the datasets of whole images that make up each field that is read."""
        fields = {}
        for name in ("image", "regions", "stages", "crops"):
            if getattr(self.inputs, name):
                own = {"image": ("features",), "stages": self.images.stages}
                fields[name] = own.get(name, (name,))
                if not fields[name] or not all(one in self.images.arrays for one in fields[name]):
                    map_, way = name, f"`image_features: {{{name}: true}}`"
                    if name == "crops":
                        map_, way = "stages", "`--objects` and `image_features: {stages: true}`"
                    raise HamlearnError(
                        f"{self.images.path}: found no {name} of the backbone"
                        f" {self.images.attributes.get('extractor')!s:.80}, expected them of each"
                        f" image: extract with {way}, by a backbone that has {map_}"
                    )
        if self.inputs.crops:
            self.objects.check_boxes_of(self.images)
        return fields

    @property
    def networks(self) -> dict[str, VisionNetwork]:
        """The networks that computed the features, by kind of file."""
        found = {}
        for kind, file in self._files.items():
            try:
                found[kind] = VisionNetwork.from_attributes(file.attributes)
            except (LookupError, ValueError, TypeError, RecursionError) as error:
                raise file.error(
                    f"found no provenance in its attributes ({error!r:.200})"
                ) from error
        return found

    @property
    def graph(self) -> GraphSettings | None:
        """The thresholds of the relations, if they are read."""
        return None if self._graphs is None else self._graphs.settings

    @property
    def files(self) -> list[FeatureFile]:
        """The files of features that are read."""
        return list(self._files.values())

    @property
    def images(self) -> FeatureFile:
        """The features of whole images."""
        return self._files["images"]

    @property
    def objects(self) -> FeatureFile:
        """The features of objects."""
        return self._files["objects"]

    def number_classes(self, names: Sequence[str]) -> None:
        """Number the classes 0 to C-1 in the order of these C names.

        "none" is C; classes of the file that are not among the names are numbered from C+1.
        """
        own, known = self.objects.classes, set(names)
        self.classes = list(names)
        self.class_names = [*names, None, *(name for name in own if name not in known)]
        number_of = {name: number for number, name in enumerate(self.class_names)}
        self._numbers = np.array([number_of[name] for name in (*own, None)])
        if self.inputs.objects:
            self.sizes = self.sizes.model_copy(update={"classes": len(names)})

    def __contains__(self, image_id: str) -> bool:
        rows = {kind: file.row_of.get(image_id) for kind, file in self._files.items()}
        return all(
            row is not None and bool(self._has_features[kind][row]) for kind, row in rows.items()
        )

    def read(self, image_ids: Sequence[str]) -> list[VisualFeatures]:
        """Return the features of some images, read together.

        Raises:
            HamlearnError: numbers are not finite, or not those of objects.
            KeyError: an image is not in the files.
        """
        found: dict[str, Any] = {}  # one array per image, by field
        absent = [image_id for image_id in image_ids if image_id not in self]
        if absent:
            raise KeyError(absent[0])
        for name, datasets in self._image_fields.items():
            rows = [self.images.row_of[image_id] for image_id in image_ids]
            parts = [self.images.rows(dataset, rows) for dataset in datasets]
            found[name] = np.concatenate(parts, axis=-1)
            _check_finite(self.images, image_ids, name, found[name])
        if self.inputs.objects:
            rows = [self.objects.row_of[image_id] for image_id in image_ids]
            found["classes"] = self.classes_of(image_ids)
            counts = [len(classes) for classes in found["classes"]]
            for name, dataset in (("objects", "features"), ("boxes", "boxes")):
                values = self.objects.rows(dataset, rows)
                found[name] = [own[:count] for own, count in zip(values, counts, strict=True)]
                _check_finite(self.objects, image_ids, name, found[name])
            if self._graphs is not None:
                found["relations"] = [
                    own[: count + 1, : count + 1]
                    for own, count in zip(self._graphs.rows(rows), counts, strict=True)
                ]
        return [
            VisualFeatures(**{name: values[place] for name, values in found.items()})
            for place in range(len(image_ids))
        ]

    def names(self, image_id: str) -> list[str]:
        """Return the names of an image's objects, best first, without those of class "none"."""
        found = [self.class_names[number] for number in self.classes_of([image_id])[0]]
        return [name for name in found if name is not None]

    def classes_of(self, image_ids: Sequence[str]) -> list[NDArray[np.integer]]:
        """Return the classes of the objects of each image, best first."""
        rows = [self.objects.row_of[image_id] for image_id in image_ids]
        counts, classes = self.objects.rows("counts", rows), self.objects.rows("labels", rows)
        most, none = classes.shape[1], len(self.objects.classes)
        is_padding = np.arange(most) >= counts[:, None]  # (B, N)
        is_valid = (is_padding | (classes >= 0) & (classes <= none)).all(axis=1)
        is_valid &= (counts >= 1) & (counts <= most)
        if not is_valid.all():
            place = int(is_valid.argmin())
            raise HamlearnError(
                f"{self.objects.path}: {image_ids[place]!r}: found {counts[place]} objects of"
                f" classes {classes[place].tolist()!s:.100}, expected 1 to {most} of classes 0 to"
                f" {none}; extract again"
            )
        chosen = [own[:count] for own, count in zip(classes, counts.tolist(), strict=True)]
        return chosen if self._numbers is None else [self._numbers[own] for own in chosen]

    def close(self) -> None:
        """Close the files."""
        self._open.close()

    def __exit__(self, *error: object) -> None:
        self.close()


def all_finite(values: NDArray[np.floating]) -> bool:
    """Return True if all numbers are finite; for float16 by its bits, which is ten times faster."""
    if values.dtype != np.float16:
        return bool(np.isfinite(values).all())
    exponent = np.uint16(0x7C00)  # all ones in infinity and NaN only
    return bool(((values.view(np.uint16) & exponent) != exponent).all())


def _check_finite(
    file: FeatureFile, image_ids: Sequence[str], name: str, values: Sequence[NDArray[Any]]
) -> None:
    for image_id, own in zip(image_ids, values, strict=True):
        if not all_finite(own):
            raise HamlearnError(
                f"{file.path}: {image_id!r}: {name} are not finite, expected finite numbers;"
                " extract again"
            )
