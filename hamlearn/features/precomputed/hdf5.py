"""One HDF5 file in our own layout: a group a picture, with the datasets that an npz would hold."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from hamlearn.errors import HamlearnError
from hamlearn.features.hdf5 import member, reading, texts
from hamlearn.features.precomputed.npz import OWN
from hamlearn.features.precomputed.rows import Row, Summary, Survey, absent, by_image, row_of
from hamlearn.io import digest_of_file


class Hdf5File:
    """An HDF5 file of groups `ID` or `ID.jpg`."""

    def __init__(self, path: Path) -> None:
        """Open the file, which stays open."""
        if not path.is_file():
            raise HamlearnError(f"{path}: no such file, expected HDF5 with one group a picture")
        with reading(path):
            self._file = h5py.File(path, "r")
            self.path = path
            self._groups = by_image(path, ((name, name) for name in sorted(self._file)))

    def survey(self) -> Survey:
        """Read the class names of all groups; the digest is the file's."""
        summary = Summary(self.path)
        with reading(self.path):
            for name in self._groups.values():
                parts = self._parts(name)
                if "names" in parts:
                    summary.names.update(map(str, _values(parts["names"]).ravel()))
                summary.labels |= "labels" in parts
                if not summary.width:
                    summary.measure(parts["features"].shape)
        return summary.survey(digest_of_file(self.path))

    def read(self, image: str) -> Row:
        """Return one picture."""
        if image not in self._groups:
            raise absent(self.path)
        name = self._groups[image]
        with reading(self.path):
            values = {part: _values(data) for part, data in self._parts(name).items()}
        return row_of(f"{self.path}:/{name}", values)

    def _parts(self, name: str) -> dict[str, h5py.Dataset]:
        """Return the datasets of one group."""
        group = member(self._file, name)
        found = {part: member(group, part) for part in OWN} if isinstance(group, h5py.Group) else {}
        parts = {part: data for part, data in found.items() if isinstance(data, h5py.Dataset)}
        for part in ("boxes", "features"):
            if part not in parts:
                raise HamlearnError(
                    f"{self.path}:/{name}: no dataset `{part}`, expected one group a picture"
                )
        return parts


def _values(data: h5py.Dataset) -> NDArray[Any]:
    if h5py.check_string_dtype(data.dtype) is None:
        return np.asarray(data[()])
    return np.array(texts(data), dtype=object).reshape(data.shape)
