"""Relation graphs of a whole corpus: object features in, one file of relations out."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hamlearn.errors import HamlearnError
from hamlearn.features.hdf5_output import atomic_hdf5, put_attributes, put_texts
from hamlearn.features.relations import NONE, RELATIONS, relation_matrices
from hamlearn.features.store import FeatureFile, attributes_of
from hamlearn.io import canonical
from hamlearn.settings import GraphSettings

log = logging.getLogger(__name__)

BLOCK = 2000  # pictures at a time: some 30 MB of pairs for 15 objects each


def build_graphs(
    object_file: str | Path, out: str | Path, settings: GraphSettings
) -> dict[str, int]:
    """Write the relations of every picture's objects, in the order of the object file.

    The file holds `ids` (n) and `relations` (n, N+1, N+1) int8, where [k, i, j] is the relation of
    the edge i -> j in picture k, an index into RELATIONS; node 0 is the picture; -1 is no edge, and
    padding. Its attributes say which objects it was made from and how. It appears whole or not.

    Args:
        object_file: features of the kind "objects".
        out: the graph file.
        settings: thresholds.

    Returns:
        The number of directed edges of each relation.

    Raises:
        HamlearnError: the object file is absent, of another kind, or holds an impossible box.
    """
    with FeatureFile(object_file) as objects:
        if objects.attributes["kind"] != "objects":
            raise HamlearnError(
                f"{object_file}: found features of kind {objects.attributes['kind']!r},"
                " expected 'objects'"
            )
        n, (most, _) = len(objects.ids), objects.shape("boxes")
        edges = np.zeros(len(RELATIONS), dtype=np.int64)
        with atomic_hdf5(out) as (file, sink):
            put_attributes(file, _attributes(objects, settings))
            put_texts(file, "ids", objects.ids)
            relations = file.create_dataset(
                "relations", (n, most + 1, most + 1), np.int8, fillvalue=NONE
            )
            for start in range(0, n, BLOCK):
                rows = range(start, min(start + BLOCK, n))
                block = _relations(objects, rows, settings)
                relations[rows.start : rows.stop] = block
                sink.check()
                edges += np.bincount(block[block != NONE], minlength=len(RELATIONS))
                log.info("graphs: %d of %d pictures", rows.stop, n)
    counts = dict(zip(RELATIONS, edges.tolist(), strict=True))
    listed = ", ".join(f"{name} {count}" for name, count in counts.items())
    log.info("graphs: %d pictures, %d directed edges: %s", n, edges.sum(), listed)
    return counts


def _relations(objects: FeatureFile, rows: range, settings: GraphSettings) -> NDArray[np.int64]:
    """Return the relations of some rows, (rows, N+1, N+1)."""
    sizes = objects.rows("sizes", rows)
    try:
        return relation_matrices(
            objects.rows("boxes", rows),
            sizes[:, 0],
            sizes[:, 1],
            objects.rows("counts", rows),
            settings.overlap_iou,
            settings.far,
        )
    except HamlearnError as error:
        if len(rows) > 1:  # find the one at fault, to name it
            for row in rows:
                _relations(objects, range(row, row + 1), settings)
        raise HamlearnError(f"{objects.path}: {objects.ids[rows.start]}: {error}") from error


def _attributes(objects: FeatureFile, settings: GraphSettings) -> dict[str, Any]:
    """Return where the graphs come from: the extractor of the objects, and the thresholds."""
    source = objects.attributes
    return {
        **attributes_of(
            "graphs",
            source["extractor"],
            source["weights"],
            source["weights_digest"],
            source["random_weights"],
            settings.model_dump(),
            ("numpy", "h5py"),
        ),
        "objects_settings_digest": source["settings_digest"],
        "names": canonical(list(RELATIONS)),
    }
