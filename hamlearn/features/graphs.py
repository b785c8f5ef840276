"""Relation graphs of a corpus: built from object features, stored in one file, read by row."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from hamlearn.errors import HamlearnError
from hamlearn.features.hdf5 import ArrayFile, atomic_hdf5, write_attributes, write_texts
from hamlearn.features.relations import NONE, RELATIONS, relation_matrices
from hamlearn.features.store import SCHEMA_VERSION, FeatureFile, attributes_of
from hamlearn.io import canonical
from hamlearn.settings import GraphSettings

BLOCK = 2000  # images processed at a time: some 30 MB of pairs for 15 objects each
log = logging.getLogger(__name__)


def build_graphs(
    object_file: str | Path, out: str | Path, settings: GraphSettings
) -> dict[str, int]:
    """Write the relations between the objects of every image, in the order of the object file.

    The file holds `ids` (n) and `relations` (n, N+1, N+1) int8, where [k, i, j] is the relation of
    the edge i -> j in image k, an index into RELATIONS; node 0 is the image; -1 is no edge, and
    padding. It is written atomically.

    Returns:
        The number of directed edges of each relation.

    Raises:
        HamlearnError: the object file is absent, of another kind, or holds an invalid box.
    """
    with FeatureFile(object_file, "objects") as objects:
        source = objects.attributes
        names = ("extractor", "weights", "weights_digest", "random_weights")
        origin = {name: source[name] for name in names}
        thresholds, libraries = settings.model_dump(), ("numpy", "h5py")
        attributes = attributes_of("graphs", settings=thresholds, libraries=libraries, **origin)
        attributes["objects_settings_digest"] = source["settings_digest"]
        attributes["boxes_digest"] = objects.digest_of_boxes()
        attributes["names"] = canonical(list(RELATIONS))
        n, (most, _) = len(objects.ids), objects.shape("boxes")
        edges = np.zeros(len(RELATIONS), dtype=np.int64)
        with atomic_hdf5(out) as (file, check_disk):
            write_attributes(file, attributes)
            write_texts(file, "ids", objects.ids)
            relations = file.create_dataset(
                "relations", (n, most + 1, most + 1), np.int8, fillvalue=NONE
            )
            for start in range(0, n, BLOCK):
                rows = range(start, min(start + BLOCK, n))
                block = _relations(objects, rows, settings)
                relations[rows.start : rows.stop] = block
                check_disk()
                edges += np.bincount(block[block != NONE], minlength=len(RELATIONS))
                log.info("graphs: %d of %d images", rows.stop, n)
    counts = dict(zip(RELATIONS, edges.tolist(), strict=True))
    listed = ", ".join(f"{name} {count}" for name, count in counts.items())
    log.info("graphs: %d images, %d directed edges: %s", n, edges.sum(), listed)
    return counts


def _relations(objects: FeatureFile, rows: range, settings: GraphSettings) -> NDArray[np.int64]:
    """Return the relations of some rows, (rows, N+1, N+1)."""
    boxes, sizes, counts = (objects.rows(name, rows) for name in ("boxes", "sizes", "counts"))
    thresholds = settings.overlap_iou, settings.far
    try:
        return relation_matrices(boxes, sizes[:, 0], sizes[:, 1], counts, *thresholds)
    except HamlearnError as error:
        if len(rows) > 1:  # repeat image by image, to name the one with the error
            for row in rows:
                _relations(objects, range(row, row + 1), settings)
        raise HamlearnError(f"{objects.path}: {objects.ids[rows.start]}: {error}") from error


class Graphs(ArrayFile):
    """A graph file open for reading, checked against the features of the objects it relates.

    Attributes:
        settings: the thresholds of the relations.
    """

    def __init__(self, path: str | Path, objects: FeatureFile) -> None:
        self._objects = objects
        super().__init__(path, ("graphs",), SCHEMA_VERSION, "hamlearn graphs")

    def rows(self, indices: Sequence[int] | NDArray[np.integer]) -> NDArray[np.int8]:
        """Return the relations of some images, (len(indices), N+1, N+1); see `build_graphs`."""
        return self.arrays["relations"][indices]

    def _check(self) -> None:
        ids, objects = self.texts.get("ids", []), self._objects
        if ids != objects.ids:
            raise self.error(
                f"found the relations of {len(ids)} images, expected those of the"
                f" {len(objects.ids)} images of {objects.path}, in the same order"
            )
        n, nodes = len(ids), 1 + objects.shape("boxes")[0]
        self._check_arrays({"ids": ("text", (n,)), "relations": ("int8", (n, nodes, nodes))})
        for start in range(0, n, BLOCK):
            block = self.rows(range(start, min(start + BLOCK, n)))
            if not NONE <= block.min() <= block.max() < len(RELATIONS):
                raise self.error(
                    f"found relations from {block.min()} to {block.max()}, expected {NONE} to"
                    f" {len(RELATIONS) - 1}"
                )
        objects.check_boxes_of(self)
        try:
            self.settings = GraphSettings.model_validate_json(self.attributes.get("settings", ""))
        except ValidationError as error:
            raise self.error(
                "settings: found no thresholds, expected overlap_iou and far"
            ) from error
