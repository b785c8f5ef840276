"""The visual side of posts: rows of the two feature files and of the graph file, by image id."""

from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import h5py
import numpy as np
from numpy.typing import NDArray

from hamlearn.errors import HamlearnError
from hamlearn.graph.relations import RELATIONS
from hamlearn.hdf5 import member, opened, texts
from hamlearn.store import FeatureFile

N_RELATIONS = len(RELATIONS)
OK = 0  # the status of a picture that was read


@dataclass(frozen=True, slots=True)
class Picture:
    """What the model sees of one picture, padding left out.

    Attributes:
        image: (F,) pooled features of the whole picture.
        objects: (O, F) region features.
        classes: (O,) class of each object.
        boxes: (O, 4) xyxy, normalised to [0, 1].
        relations: (O+1, O+1) relation of the edge i -> j or -1, node 0 the image.
    """

    image: NDArray[np.floating]
    objects: NDArray[np.floating]
    classes: NDArray[np.integer]
    boxes: NDArray[np.floating]
    relations: NDArray[np.integer]


class PictureSource(Protocol):
    """Gives pictures by image id, all of the same widths."""

    @property
    def image_width(self) -> int:
        """F of the whole picture."""
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
    """Looks up pictures by image id; nothing is read before it is asked for."""

    def __init__(self, images: str | Path, objects: str | Path, graphs: str | Path) -> None:
        """Open the three files and check that they belong together.

        Args:
            images: features of whole pictures.
            objects: features of their objects.
            graphs: relations between the objects, made from `objects`.

        Raises:
            HamlearnError: a file is absent or of another kind, or `graphs` was made from other
                objects.
        """
        self.images = _open(images, "images")
        self.objects = _open(objects, "objects")
        graph_ids, self.relations, self.graph_attributes = _read_graphs(graphs)
        if graph_ids != list(self.objects.ids):
            raise HamlearnError(
                f"{graphs}: found the relations of {len(graph_ids)} pictures, expected those of the"
                f" {len(self.objects.ids)} pictures of {objects}, in the same order"
            )
        nodes = 1 + self.objects.rows("boxes", [0]).shape[1] if graph_ids else 0
        if graph_ids and self.relations.shape[1:] != (nodes, nodes):
            raise HamlearnError(
                f"{graphs}: found relations of {self.relations.shape[1]} nodes, expected {nodes},"
                f" the picture and the objects of {objects}"
            )
        self._image_ok = _readable(self.images)
        self._object_ok = _readable(self.objects)

    @property
    def image_width(self) -> int:
        """F of the whole picture."""
        return self._width(self.images)

    @property
    def object_width(self) -> int:
        """F of an object."""
        return self._width(self.objects)

    @property
    def classes(self) -> list[str]:
        """The names of the C object classes; the class C, "none", is not among them."""
        return list(self.objects.classes)

    @property
    def provenance(self) -> dict[str, dict[str, Any]]:
        """The attributes of both feature files."""
        return {"images": dict(self.images.attributes), "objects": dict(self.objects.attributes)}

    def __contains__(self, image: str) -> bool:
        """Tell whether the picture was read by both extractors."""
        return image in self._image_ok and image in self._object_ok

    def __getitem__(self, image: str) -> Picture:
        """Return one picture; KeyError where it is not among those that were read.

        Raises:
            HamlearnError: its numbers are not those of a picture.
        """
        row, objects = [self._image_ok[image]], [self._object_ok[image]]
        count = int(self.objects.rows("counts", objects)[0])
        picture = Picture(
            image=self.images.rows("features", row)[0],
            objects=self.objects.rows("features", objects)[0, :count],
            classes=self.objects.rows("labels", objects)[0, :count],
            boxes=self.objects.rows("boxes", objects)[0, :count],
            relations=self.relations[objects[0], : count + 1, : count + 1],
        )
        if not 1 <= count <= self.relations.shape[1] - 1:
            raise self._wrong(image, f"{count} objects", f"1 to {self.relations.shape[1] - 1}")
        if not 0 <= picture.classes.min() <= picture.classes.max() <= len(self.objects.classes):
            raise self._wrong(image, "a class that has no name", "one of `classes`, or none")
        for values in (picture.objects, picture.boxes):
            if not np.isfinite(values).all():
                raise self._wrong(image, "numbers that are not finite", "finite ones")
        if not np.isfinite(picture.image).all():
            raise HamlearnError(f"{self.images.path}: {image!r}: features are not finite")
        return picture

    def _wrong(self, image: str, found: str, expected: str) -> HamlearnError:
        return HamlearnError(
            f"{self.objects.path}: {image!r}: found {found}, expected {expected}; extract again"
        )

    def close(self) -> None:
        """Close the feature files."""
        self.images.close()
        self.objects.close()

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


def _readable(file: FeatureFile) -> dict[str, int]:
    """Return the row of each picture that was read."""
    status = file.rows("status", range(len(file.ids)))
    return {image: row for row, image in enumerate(file.ids) if status[row] == OK}


def _read_graphs(path: str | Path) -> tuple[list[str], NDArray[np.int8], dict[str, Any]]:
    """Return image ids, relations (n, N+1, N+1), small enough for memory, and attributes."""
    with opened(path, "graphs made by `hamlearn graphs`") as file:
        attributes = {
            name: value.item() if isinstance(value, np.generic) else value
            for name, value in file.attrs.items()
        }
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
