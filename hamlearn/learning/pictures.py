"""The visual side of posts: rows of the two feature files and of the graph file, by image id."""

from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from hamlearn.errors import HamlearnError
from hamlearn.graph.relations import RELATIONS
from hamlearn.hdf5 import member, opened, root_attributes, texts
from hamlearn.store import STAGES, FeatureFile
from hamlearn.variants import Needs

N_RELATIONS = len(RELATIONS)
EVERYTHING = Needs(image=True, objects=True, graphs=True)  # what HamLearning looks at
REGIONS = 49  # of the 7x7 map
PLACES = 4  # of the 2x2 map of a stage
OK = 0  # the status of a picture that was read


def _nothing() -> NDArray[Any]:
    return np.empty(0)


@dataclass(frozen=True, slots=True)
class Picture:
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


class PictureSource(Protocol):
    """Gives pictures by image id, all of the same widths."""

    @property
    def needs(self) -> Needs:
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

    def __getitem__(self, image: str) -> Picture:
        """Return one picture."""
        ...


class Pictures:
    """Looks up pictures by image id; nothing is read before it is asked for.

    Attributes:
        needs: what is looked at; everything else stays empty.
    """

    def __init__(
        self,
        images: str | Path | None = None,
        objects: str | Path | None = None,
        graphs: str | Path | None = None,
        needs: Needs = EVERYTHING,
    ) -> None:
        """Open the files that are needed and check that they belong together.

        Args:
            images: features of whole pictures.
            objects: features of their objects.
            graphs: relations between the objects, made from `objects`.
            needs: what is looked at.

        Raises:
            HamlearnError: a file is absent or of another kind, or lacks what is needed, or `graphs`
                was made from other objects.
        """
        given = {"images": images, "objects": objects, "graphs": graphs}
        absent = ", ".join(name for name in needs.files if given[name] is None)
        if absent:
            raise HamlearnError(f"pictures: found no {absent}, expected a file of each")
        self.needs = needs
        self._files = {
            kind: _open(path, kind)
            for kind, path in given.items()
            if path is not None and kind in needs.files and kind != "graphs"
        }
        self._rows = {kind: _readable(file) for kind, file in self._files.items()}
        if needs.regions and not self.images.has("regions"):
            raise HamlearnError(
                f"{images}: found no regions, expected 7x7 maps: extract with"
                " `image_features: {regions: true}`"
            )
        if needs.regions and self.images.shape("regions") != (REGIONS, self.image_width):
            raise HamlearnError(
                f"{images}: found regions of shape {self.images.shape('regions')}, expected"
                f" {(REGIONS, self.image_width)}"
            )
        absent = ", ".join(name for name in STAGES if needs.stages and not self.images.has(name))
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
        self.graph_attributes: dict[str, Any] = {}
        if needs.graphs and graphs is not None and objects is not None:
            read = _relations(graphs, objects, self.objects)
            self.relations, self.graph_attributes = read

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
        sees = self.needs.objects
        return {
            "image": self.image_width if "images" in self._files else 0,
            "object": self.object_width if sees else 0,
            "classes": len(self.classes) if sees else 0,
        } | ({"stages": self.stage_widths} if self.needs.stages else {})

    @property
    def image_width(self) -> int:
        """F of the whole picture."""
        return self._width(self.images)

    @property
    def stage_widths(self) -> list[int]:
        """F of each of the four stages; none where they are not looked at."""
        return [self.images.shape(name)[-1] for name in STAGES] if self.needs.stages else []

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
        return all(image in rows for rows in self._rows.values())

    def __getitem__(self, image: str) -> Picture:
        """Return one picture; KeyError where it is not among those that were read.

        Raises:
            HamlearnError: its numbers are not those of a picture.
        """
        found: dict[str, NDArray[Any]] = {}
        if "images" in self._files:
            row = [self._rows["images"][image]]
            for name, is_read in (("image", self.needs.image), ("regions", self.needs.regions)):
                if is_read:
                    dataset = "features" if name == "image" else name
                    found[name] = self.images.rows(dataset, row)[0]
                    self._check_finite(image, dataset, found[name])
            if self.needs.stages:
                stages = [self.images.rows(name, row)[0] for name in STAGES]
                found["stages"] = np.concatenate(stages, axis=-1)
                self._check_finite(image, "stages", found["stages"])
        if self.needs.objects:
            row = [self._rows["objects"][image]]
            found["classes"] = self._labels(image)
            count = len(found["classes"])
            for name, dataset in (("objects", "features"), ("boxes", "boxes")):
                found[name] = self.objects.rows(dataset, row)[0, :count]
                if not np.isfinite(found[name]).all():
                    raise self._wrong(image, "numbers that are not finite", "finite ones")
            if self.needs.graphs:
                found["relations"] = self.relations[row[0], : count + 1, : count + 1]
        return Picture(**found)

    def _check_finite(self, image: str, dataset: str, values: NDArray[Any]) -> None:
        if not np.isfinite(values).all():
            raise HamlearnError(f"{self.images.path}: {image!r}: {dataset} are not finite")

    def names(self, image: str) -> list[str]:
        """Return the names of the objects' classes, the best first; none for class "none".

        Raises:
            HamlearnError: its numbers are not those of a picture.
        """
        labels = self._labels(image).tolist()
        return [self.classes[label] for label in labels if label < len(self.classes)]

    def _labels(self, image: str) -> NDArray[np.integer]:
        """Return the class of each object."""
        row = [self._rows["objects"][image]]
        count, every = int(self.objects.rows("counts", row)[0]), self.objects.rows("labels", row)[0]
        if not 1 <= count <= len(every):
            raise self._wrong(image, f"{count} objects", f"1 to {len(every)}")
        labels = every[:count]
        if not 0 <= labels.min() <= labels.max() <= len(self.objects.classes):
            raise self._wrong(image, "a class that has no name", "one of `classes`, or none")
        return labels

    def _wrong(self, image: str, found: str, expected: str) -> HamlearnError:
        return HamlearnError(
            f"{self.objects.path}: {image!r}: found {found}, expected {expected}; extract again"
        )

    def close(self) -> None:
        """Close the feature files."""
        for file in self._files.values():
            file.close()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the feature files."""
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


def _relations(
    graphs: str | Path, path: str | Path, objects: FeatureFile
) -> tuple[NDArray[np.int8], dict[str, Any]]:
    """Return the relations (n, N+1, N+1) of the objects of a file, and their attributes."""
    ids, relations, attributes = _read_graphs(graphs)
    if ids != list(objects.ids):
        raise HamlearnError(
            f"{graphs}: found the relations of {len(ids)} pictures, expected those of the"
            f" {len(objects.ids)} pictures of {path}, in the same order"
        )
    nodes = 1 + objects.rows("boxes", [0]).shape[1] if ids else 0
    if ids and relations.shape[1:] != (nodes, nodes):
        raise HamlearnError(
            f"{graphs}: found relations of {relations.shape[1]} nodes, expected {nodes},"
            f" the picture and the objects of {path}"
        )
    return relations, attributes


def _readable(file: FeatureFile) -> dict[str, int]:
    """Return the row of each picture that was read."""
    status = file.rows("status", range(len(file.ids)))
    return {image: row for row, image in enumerate(file.ids) if status[row] == OK}


def _read_graphs(path: str | Path) -> tuple[list[str], NDArray[np.int8], dict[str, Any]]:
    """Return image ids, relations (n, N+1, N+1), small enough for memory, and attributes."""
    with opened(path, "graphs made by `hamlearn graphs`") as file:
        attributes = root_attributes(file)
        ids, relations = (member(file, name) for name in ("ids", "relations"))
        if not isinstance(ids, h5py.Dataset) or not isinstance(relations, h5py.Dataset):
            raise HamlearnError(f"{path}: not a graph file; expected `ids` and `relations`")
        images, n = texts(ids), ids.size
        if relations.ndim != 3 or len(relations) != n or relations.dtype != np.int8:
            raise HamlearnError(
                f"{path}: `relations` are {relations.dtype} of shape {relations.shape}, expected"
                f" int8 of {n} pictures"
            )
        values: NDArray[np.int8] = relations[()]
    if values.size and not -1 <= values.min() <= values.max() < N_RELATIONS:
        raise HamlearnError(
            f"{path}: found relations from {values.min()} to {values.max()}, expected -1 to"
            f" {N_RELATIONS - 1}"
        )
    return images, values, attributes
