import h5py
import numpy as np
import pytest

from hamlearn.errors import HamlearnError
from hamlearn.features.precomputed.hdf5 import Hdf5File
from hamlearn.vision.images import PictureError
from tests.features.precomputed.kept import SIZE, made_up, write_hdf5


def test_groups_hold_what_an_npz_would(tmp_path):
    path = tmp_path / "a.h5"
    bare = {name: made_up(1)[name] for name in ("boxes", "features")}
    write_hdf5(path, {"a.jpg": made_up(0), "b": bare | {"labels": np.array([1, 0, 2])}})
    reader = Hdf5File(path)
    row = reader.read("a")
    for name in ("boxes", "features", "scores", "names"):
        np.testing.assert_array_equal(getattr(row, name), made_up(0)[name])
    assert row.size == SIZE
    row = reader.read("b")
    assert row.labels.tolist() == [1, 0, 2]
    assert (row.scores, row.names, row.size) == (None, None, None)
    survey = reader.survey()
    assert (survey.width, survey.names, survey.labels) == (4, {*made_up(0)["names"]}, True)
    with pytest.raises(PictureError, match="no features of this name"):
        reader.read("c")


def test_other_files_are_named(tmp_path):
    path = tmp_path / "a.h5"
    with pytest.raises(HamlearnError, match="no such file"):
        Hdf5File(path)
    path.write_text("text")
    with pytest.raises(HamlearnError, match="not an HDF5 file"):
        Hdf5File(path)
    with h5py.File(path, "w") as file:
        file["features"] = np.zeros((3, 4))
    with pytest.raises(HamlearnError, match=r"a\.h5:/features: no dataset `boxes`"):
        Hdf5File(path).survey()
