"""The relation graphs of a corpus, read row by row from the file that `build_graphs` wrote."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from hamlearn.errors import HamlearnError
from hamlearn.features.hdf5 import member, opened, root_attributes, texts
from hamlearn.features.hdf5_rows import RowReader, Rows
from hamlearn.features.relations import RELATIONS
from hamlearn.features.store import FeatureFile

BLOCK = 10_000  # graphs that are checked at a time: 2.6 MB for 15 objects each


class Graphs:
    """The relations between the objects of every picture of a feature file.

    Attributes:
        attributes: where they come from.
    """

    def __init__(self, path: str | Path, objects: FeatureFile) -> None:
        """Open the file, and check that it was made of these objects.

        Args:
            path: of the graph file.
            objects: the file whose boxes are related.

        Raises:
            HamlearnError: the file is absent or holds no graphs, or those of other objects.
        """
        with opened(path, "graphs made by `hamlearn graphs`") as file:
            self.attributes: dict[str, Any] = root_attributes(file)
            ids, relations = (member(file, name) for name in ("ids", "relations"))
            if not isinstance(ids, h5py.Dataset) or not isinstance(relations, h5py.Dataset):
                raise HamlearnError(f"{path}: not a graph file; expected `ids` and `relations`")
            self._check(path, texts(ids), relations, objects)
            self._reader = RowReader(path)
            self._rows = self._reader.rows_of(relations)
        try:
            _check_range(path, self._rows)
        except HamlearnError:
            self.close()
            raise

    def rows(self, indices: Sequence[int]) -> NDArray[np.int8]:
        """Return relations (len(indices), N+1, N+1) by row; see `build_graphs`."""
        return self._rows[np.asarray(indices, np.int64)]

    def close(self) -> None:
        """Close the file."""
        self._reader.close()

    @staticmethod
    def _check(
        path: str | Path, ids: list[str], relations: h5py.Dataset, objects: FeatureFile
    ) -> None:
        n = len(ids)
        if relations.ndim != 3 or len(relations) != n or relations.dtype != np.int8:
            raise HamlearnError(
                f"{path}: `relations` are {relations.dtype} of shape {relations.shape}, expected"
                f" int8 of {n} pictures"
            )
        if ids != list(objects.ids):
            raise HamlearnError(
                f"{path}: found the relations of {n} pictures, expected those of the"
                f" {len(objects.ids)} pictures of {objects.path}, in the same order"
            )
        nodes = 1 + objects.shape("boxes")[0] if ids else 0
        if ids and relations.shape[1:] != (nodes, nodes):
            raise HamlearnError(
                f"{path}: found relations of {relations.shape[1]} nodes, expected {nodes},"
                f" the picture and the objects of {objects.path}"
            )


def _check_range(path: str | Path, relations: Rows) -> None:
    """Refuse what is no relation, a block at a time."""
    for start in range(0, relations.shape[0], BLOCK):
        block = relations[np.arange(start, min(start + BLOCK, relations.shape[0]))]
        if block.size and not -1 <= block.min() <= block.max() < len(RELATIONS):
            raise HamlearnError(
                f"{path}: found relations from {block.min()} to {block.max()}, expected -1 to"
                f" {len(RELATIONS) - 1}"
            )
