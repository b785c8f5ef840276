"""The visual side of posts: rows of the two feature files and of the graph file, by image id."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from hamlearn.errors import HamlearnError
from hamlearn.features.graphs import Graphs
from hamlearn.features.store import STAGES, FeatureFile
from hamlearn.systems import Inputs

HAMLEARNING_INPUTS = Inputs(image=True, objects=True, graphs=True)  # what HamLearning looks at
REGIONS = 49  # of the 7x7 map
PLACES = 4  # of the 2x2 map of a stage
OK = 0  # the status of a picture that was read


def _nothing() -> NDArray[Any]:
    return np.empty(0)


@dataclass(frozen=True, slots=True)
class VisualFeatures:
    """What the model sees of one picture, padding left out; empty what it does not look at.

    Attributes:
        image: (F,) pooled features of the whole picture.
        regions: (49, F) its 7x7 map.
        stages: (4, sum of F) the maps of its four stages as 2x2, side by side.
        objects: (O, F) region features.
        classes: (O,) class of each object.
        boxes: (O, 4) xyxy, normalised to [0, 1].
        relations: (O+1, O+1) relation of the edge i -> j or -1, node 0 the image.
    """

    image: NDArray[np.floating] = field(default_factory=_nothing)
    regions: NDArray[np.floating] = field(default_factory=_nothing)
    stages: NDArray[np.floating] = field(default_factory=_nothing)
    objects: NDArray[np.floating] = field(default_factory=_nothing)
    classes: NDArray[np.integer] = field(default_factory=_nothing)
    boxes: NDArray[np.floating] = field(default_factory=_nothing)
    relations: NDArray[np.integer] = field(default_factory=_nothing)


class VisualSource(Protocol):
    """Gives pictures by image id, all of the same widths."""

    @property
    def inputs(self) -> Inputs:
        """What is looked at."""
        ...

    @property
    def image_width(self) -> int:
        """F of the whole picture."""
        ...

    @property
    def stage_widths(self) -> list[int]:
        """F of each of the four stages; none where they are not looked at."""
        ...

    @property
    def object_width(self) -> int:
        """F of an object."""
        ...

    def __contains__(self, image: str) -> bool:
        """Tell whether there is a picture of this id."""
        ...

    def __getitem__(self, image: str) -> VisualFeatures:
        """Return one picture."""
        ...

    def read(self, images: Sequence[str]) -> list[VisualFeatures]:
        """Return pictures, read together."""
        ...


class VisualReader(AbstractContextManager["VisualReader"]):
    """Looks up pictures by image id; nothing is read before it is asked for.

    Attributes:
        inputs: what is looked at; everything else stays empty.
    """

    def __init__(
        self,
        images: str | Path | None = None,
        objects: str | Path | None = None,
        graphs: str | Path | None = None,
        inputs: Inputs = HAMLEARNING_INPUTS,
    ) -> None:
        """Open the files that are needed and check that they belong together.

        Args:
            images: features of whole pictures.
            objects: features of their objects.
            graphs: relations between the objects, made from `objects`.
            inputs: what is looked at.

        Raises:
            HamlearnError: a file is absent or of another kind, or lacks what is needed, or `graphs`
                was made from other objects.
        """
        given = {"images": images, "objects": objects, "graphs": graphs}
        absent = ", ".join(name for name in inputs.files if given[name] is None)
        if absent:
            raise HamlearnError(f"pictures: found no {absent}, expected a file of each")
        self.inputs = inputs
        self._files = {
            kind: _open(path, kind)
            for kind, path in given.items()
            if path is not None and kind in inputs.files and kind != "graphs"
        }
        self._is_read = {
            kind: file.rows("status", range(len(file.ids))) == OK
            for kind, file in self._files.items()
        }
        if inputs.regions and not self.images.has("regions"):
            raise HamlearnError(
                f"{images}: found no regions, expected 7x7 maps: extract with"
                " `image_features: {regions: true}`"
            )
        if inputs.regions and self.images.shape("regions") != (REGIONS, self.image_width):
            raise HamlearnError(
                f"{images}: found regions of shape {self.images.shape('regions')}, expected"
                f" {(REGIONS, self.image_width)}"
            )
        absent = ", ".join(name for name in STAGES if inputs.stages and not self.images.has(name))
        if absent:
            raise HamlearnError(
                f"{images}: found no {absent}, expected the maps of all stages: extract with"
                " `image_features: {stages: true}`"
            )
        for name, width in zip(STAGES, self.stage_widths, strict=False):
            if self.images.shape(name) != (PLACES, width):
                raise HamlearnError(
                    f"{images}: found {name} of shape {self.images.shape(name)}, expected"
                    f" ({PLACES}, F)"
                )
        self._graphs: Graphs | None = None
        if inputs.graphs and graphs is not None and objects is not None:
            self._graphs = Graphs(graphs, self.objects)
        self.graph_attributes = {} if self._graphs is None else self._graphs.attributes

    @property
    def images(self) -> FeatureFile:
        """The features of whole pictures."""
        return self._files["images"]

    @property
    def objects(self) -> FeatureFile:
        """The features of the objects."""
        return self._files["objects"]

    @property
    def sizes(self) -> dict[str, Any]:
        """F of the whole picture and of an object, and C; 0 for what is not looked at.

        F of each stage as well, where they are.
        """
        sees = self.inputs.objects
        return {
            "image": self.image_width if "images" in self._files else 0,
            "object": self.object_width if sees else 0,
            "classes": len(self.classes) if sees else 0,
        } | ({"stages": self.stage_widths} if self.inputs.stages else {})

    @property
    def image_width(self) -> int:
        """F of the whole picture."""
        return self._width(self.images)

    @property
    def stage_widths(self) -> list[int]:
        """F of each of the four stages; none where they are not looked at."""
        return [self.images.shape(name)[-1] for name in STAGES] if self.inputs.stages else []

    @property
    def object_width(self) -> int:
        """F of an object."""
        return self._width(self.objects)

    @property
    def classes(self) -> list[str]:
        """The names of the C object classes; the class C, "none", is not among them."""
        return list(self.objects.classes) if "objects" in self._files else []

    @property
    def provenance(self) -> dict[str, dict[str, Any]]:
        """The attributes of the feature files."""
        return {kind: dict(file.attributes) for kind, file in self._files.items()}

    def __contains__(self, image: str) -> bool:
        """Tell whether the picture was read by every extractor that is looked at."""
        for kind, file in self._files.items():
            row = file.row_of.get(image)
            if row is None or not self._is_read[kind][row]:
                return False
        return True

    def __getitem__(self, image: str) -> VisualFeatures:
        """Return one picture; see `read`."""
        return self.read([image])[0]

    def read(self, images: Sequence[str]) -> list[VisualFeatures]:
        """Return pictures, read together; KeyError where one is not among those that were read.

        Raises:
            HamlearnError: the numbers of one are not those of a picture.
        """
        found: dict[str, Any] = {}  # of each field, one array a picture
        if "images" in self._files:
            rows = self._rows("images", images)
            for name, is_read in (("image", self.inputs.image), ("regions", self.inputs.regions)):
                if is_read:
                    dataset = "features" if name == "image" else name
                    found[name] = self._finite(images, dataset, rows)
            if self.inputs.stages:
                stages = [self._finite(images, name, rows) for name in STAGES]
                found["stages"] = np.concatenate(stages, axis=-1)
        if self.inputs.objects:
            rows = self._rows("objects", images)
            found["classes"] = self._labels(images)
            counts = [len(classes) for classes in found["classes"]]
            for name, dataset in (("objects", "features"), ("boxes", "boxes")):
                values = self.objects.rows(dataset, rows)
                found[name] = [own[:count] for own, count in zip(values, counts, strict=True)]
                if not all_finite(values):  # which may be past the objects, where it is no matter
                    self._check_objects(images, found[name])
            if self._graphs is not None:
                relations = self._graphs.rows(rows)
                found["relations"] = [
                    own[: count + 1, : count + 1]
                    for own, count in zip(relations, counts, strict=True)
                ]
        return [
            VisualFeatures(**{name: values[number] for name, values in found.items()})
            for number in range(len(images))
        ]

    def _rows(self, kind: str, images: Sequence[str]) -> list[int]:
        """Return the rows of pictures in a file; KeyError where one was not read."""
        rows = [self._files[kind].row_of[image] for image in images]
        for image, is_read in zip(images, self._is_read[kind][rows].tolist(), strict=True):
            if not is_read:
                raise KeyError(image)
        return rows

    def _finite(self, images: Sequence[str], dataset: str, rows: Sequence[int]) -> NDArray[Any]:
        """Return rows of whole pictures."""
        values = self.images.rows(dataset, rows)
        if not all_finite(values):
            wrong = next(i for i, own in zip(images, values, strict=True) if not all_finite(own))
            what = "stages" if dataset in STAGES else dataset
            raise HamlearnError(f"{self.images.path}: {wrong!r}: {what} are not finite")
        return values

    def _check_objects(self, images: Sequence[str], values: Sequence[NDArray[Any]]) -> None:
        for image, own in zip(images, values, strict=True):
            if not all_finite(own):
                raise self._wrong(image, "numbers that are not finite", "finite ones")

    def names(self, image: str) -> list[str]:
        """Return the names of the objects' classes, the best first; none for class "none".

        Raises:
            HamlearnError: its numbers are not those of a picture.
        """
        labels = self._labels([image])[0].tolist()
        return [self.classes[label] for label in labels if label < len(self.classes)]

    def _labels(self, images: Sequence[str]) -> list[NDArray[np.integer]]:
        """Return the class of each object of each picture."""
        rows = self._rows("objects", images)
        counts, every = self.objects.rows("counts", rows), self.objects.rows("labels", rows)
        most = every.shape[1]
        counted = (counts >= 1) & (counts <= most)
        named = (every >= 0) & (every <= len(self.objects.classes))  # (B, N)
        named |= np.arange(most) >= counts[:, None]
        for number in np.flatnonzero(~(counted & named.all(axis=1))).tolist():
            if not counted[number]:
                raise self._wrong(images[number], f"{counts[number]} objects", f"1 to {most}")
            raise self._wrong(
                images[number], "a class that has no name", "one of `classes`, or none"
            )
        return [labels[:count] for labels, count in zip(every, counts.tolist(), strict=True)]

    def _wrong(self, image: str, found: str, expected: str) -> HamlearnError:
        return HamlearnError(
            f"{self.objects.path}: {image!r}: found {found}, expected {expected}; extract again"
        )

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()
        if self._graphs is not None:
            self._graphs.close()

    def __exit__(self, *error: object) -> None:
        self.close()

    @staticmethod
    def _width(file: FeatureFile) -> int:
        return int(file.rows("features", []).shape[-1])


def _open(path: str | Path, kind: str) -> FeatureFile:
    file = FeatureFile(path)
    found = file.attributes.get("kind")
    if found != kind:
        file.close()
        raise HamlearnError(f"{path}: found features of {found}, expected features of {kind}")
    return file


def all_finite(values: NDArray[np.floating]) -> bool:
    """Tell whether all numbers are finite; of float16 by its bits, which is ten times as quick."""
    if values.dtype != np.float16:
        return bool(np.isfinite(values).all())
    exponent = np.uint16(0x7C00)  # all ones in infinity and in what is no number, and there alone
    return bool(((values.view(np.uint16) & exponent) != exponent).all())
