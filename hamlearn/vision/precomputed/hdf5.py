"""One HDF5 file in our own layout: a group a picture, with the datasets that an npz would hold."""

from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from hamlearn.errors import HamlearnError
from hamlearn.files import digest_of_file
from hamlearn.vision.precomputed.npz import OWN
from hamlearn.vision.precomputed.rows import Row, Summary, Survey, absent, by_image, row_of


class Hdf5File:
    """An HDF5 file of groups `ID` or `ID.jpg`."""

    def __init__(self, path: Path) -> None:
        """Open the file, which stays open."""
        if not path.is_file():
            raise HamlearnError(f"{path}: no such file, expected HDF5 with one group a picture")
        try:
            self._file = h5py.File(path, "r")
        except OSError as error:
            raise HamlearnError(f"{path}: not an HDF5 file ({error})") from error
        self.path = path
        self._groups = by_image(path, ((name, name) for name in sorted(self._file)))

    def survey(self) -> Survey:
        """Read the class names of all groups; the digest is the file's."""
        summary = Summary(self.path)
        for name in self._groups.values():
            group = self._group(name)
            if "names" in group:
                summary.names.update(map(str, self._values(group, "names").ravel()))
            summary.labels |= "labels" in group
            if not summary.width:
                summary.measure(group["features"].shape)
        return summary.survey(digest_of_file(self.path))

    def read(self, image: str) -> Row:
        """Return one picture."""
        if image not in self._groups:
            raise absent(self.path)
        group = self._group(self._groups[image])
        values = {part: self._values(group, part) for part in OWN if part in group}
        return row_of(f"{self.path}:{group.name}", values)

    def _group(self, name: str) -> Any:
        group = self._file[name]
        for part in ("boxes", "features"):
            if not isinstance(group, h5py.Group) or not isinstance(group.get(part), h5py.Dataset):
                raise HamlearnError(
                    f"{self.path}:/{name}: no dataset `{part}`, expected one group a picture"
                )
        return group

    @staticmethod
    def _values(group: Any, part: str) -> NDArray[Any]:
        data = group[part]
        text = h5py.check_string_dtype(data.dtype) is not None
        return np.asarray(data.asstr()[()] if text else data[()])
