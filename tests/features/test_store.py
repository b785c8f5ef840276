import json
import os
import resource

import h5py
import numpy as np
import pytest

from hamlearn.errors import HamlearnError
from hamlearn.features.hdf5 import write_attributes
from hamlearn.features.store import (
    FeatureFile,
    attributes_of,
    feature_writer,
    image_columns,
    object_columns,
    warn_of_demo,
)
from hamlearn.networks import BACKBONES

IDS = ["a", "17_06_4705", "ü", "d", "e"]

OF_DEMO = BACKBONES["demo"].source


def attributes(kind="images", **changed):
    settings = {"dtype": "float32", "size": 224}
    return attributes_of(kind, "net", "random", "0" * 64, True, settings) | changed


def write(path, ids=IDS, dtype="float32", failed=("d",), regions=False, **changed):
    with feature_writer(
        path, ids, image_columns(3, dtype, (49, 3) if regions else None), attributes(**changed)
    ) as writer:
        for row, image in enumerate(ids):
            if image in failed:
                writer.fail(row, 2, "zero bytes")
                continue
            values = {"features": vector(image)}
            if regions:
                values["regions"] = np.ones((49, 3)) * vector(image)
            writer.put(row, (IDS.index(image) + 1, 10), **values)
    return path


def vector(image):
    return np.arange(3) + 10.0 * IDS.index(image)


def test_stages_are_stored_each_at_its_own_width():
    columns = image_columns(7, "float16", stages=(2, 3, 5, 7))
    assert {name: shape for name, (shape, _) in columns.items()} == {
        "features": (7,),
        "stage1": (4, 2),
        "stage2": (4, 3),
        "stage3": (4, 5),
        "stage4": (4, 7),
    }
    assert "stage1" not in image_columns(7, "float16", (49, 7))


def test_round_trip_of_images(tmp_path):
    with FeatureFile(write(tmp_path / "a.h5", regions=True)) as file:
        assert file.ids == IDS
        assert file.row_of["ü"] == 2
        assert file.classes == []
        assert file.reasons == ["", "", "", "zero bytes", ""]
        assert file.rows("status", range(5)).tolist() == [0, 0, 0, 2, 0]
        assert file.rows("features", [2, 0]).tolist() == [[20, 21, 22], [0, 1, 2]]
        assert file.rows("features", [3]).tolist() == [[0, 0, 0]]
        assert file.rows("sizes", [4]).tolist() == [[5, 10]]
        assert file.shape("features") == (3,)
        assert file.shape("regions") == (49, 3)
        assert file.rows("features", []).shape == (0, 3)
        assert json.loads(file.attributes["settings"]) == {"dtype": "float32", "size": 224}
        assert file.attributes["random_weights"] is True
        assert file.attributes["schema_version"] == 2
        assert {"torch", "numpy", "hamlearn"} <= json.loads(file.attributes["versions"]).keys()


def test_round_trip_of_objects(tmp_path):
    columns = object_columns(4, 2, "float16")
    values = {
        "features": [[1, 2, 3, 4], [0, 0, 0, 0]],
        "boxes": [[0, 0, 0.5, 0.5], [0, 0, 0, 0]],
        "scores": [0.9, 0],
        "labels": [1, -1],
        "counts": 1,
    }
    path = tmp_path / "a.h5"
    with feature_writer(path, ["x", "y"], columns, attributes("objects"), ["cat", "dog"]) as writer:
        writer.put(0, (20, 10), **values)
        writer.fail(1, 1, "no such file")
    with FeatureFile(path) as file:
        assert file.classes == ["cat", "dog"]
        assert file.rows("features", [0]).dtype == np.float16
        for name, value in values.items():
            np.testing.assert_array_equal(file.rows(name, [0])[0], np.float32(value))
        assert file.rows("labels", [1]).tolist() == [[-1, -1]]
        assert file.rows("counts", [1]).tolist() == [0]


def test_numbers_are_read_when_they_are_asked_for(tmp_path):
    path = write(tmp_path / "a.h5")
    with FeatureFile(path) as file:
        with h5py.File(path, "r+") as other:
            other["features"][0] = [7, 8, 9]
        assert file.rows("features", [0]).tolist() == [[7, 8, 9]]


def test_no_images_at_all(tmp_path):
    with FeatureFile(write(tmp_path / "a.h5", ids=[])) as file:
        assert file.ids == []
        assert file.rows("features", []).shape == (0, 3)


def test_a_file_of_failures_alone_has_rows_of_zeros(tmp_path):
    with FeatureFile(write(tmp_path / "a.h5", failed=IDS)) as file:
        assert not file.rows("features", range(5)).any()


def test_same_features_same_bytes(tmp_path):
    assert write(tmp_path / "a.h5").read_bytes() == write(tmp_path / "b.h5").read_bytes()


def test_a_failed_writer_leaves_nothing(tmp_path):
    with (
        pytest.raises(HamlearnError, match=r"a: `features` has shape \(4,\), expected \(3,\)"),
        feature_writer(tmp_path / "a.h5", IDS, image_columns(3, "float32"), attributes()) as writer,
    ):
        writer.put(0, (1, 1), features=np.zeros(4))
    assert list(tmp_path.iterdir()) == []


def test_a_row_left_out_or_twice_is_an_error(tmp_path):
    columns = image_columns(3, "float32")
    with (
        pytest.raises(HamlearnError, match="image b was not written"),
        feature_writer(tmp_path / "a.h5", ["a", "b"], columns, attributes()) as writer,
    ):
        writer.put(0, (1, 1), features=vector("a"))
    with (
        pytest.raises(HamlearnError, match="twice"),
        feature_writer(tmp_path / "a.h5", ["a", "a"], columns, attributes()),
    ):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", [1e6, np.nan])
def test_numbers_past_float16_are_an_error(tmp_path, value):
    with (
        pytest.raises(HamlearnError, match=r"^image_features\.backbones\.net: a: .*float32"),
        feature_writer(tmp_path / "a.h5", ["a"], image_columns(1, "float16"), attributes()) as w,
    ):
        w.put(0, (1, 1), features=[value])


def broken(path, change):
    with h5py.File(write(path), "a") as file:
        change(file)
    return path


def replace(name, value):
    def change(file):
        del file[name]
        file[name] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda file: file.attrs.update({"schema_version": 99}),
            "version 99, expected images or",
        ),
        (lambda file: file.attrs.pop("schema_version"), "version None, expected images or objects"),
        (
            lambda file: write_attributes(file, {"kind": "sounds"}),
            "found 'sounds' of layout version 2, expected images",
        ),
        (
            lambda file: write_attributes(file, {"kind": "objects"}),
            "`classes` is absent, expected text",
        ),
        (lambda file: file.pop("features"), "no dataset `features`"),
        (lambda file: file.pop("reasons"), r"`reasons` is absent, expected text of shape \(5,\)"),
        (
            replace("features", np.zeros((4, 3))),
            r"`features` is .*\(4, 3\), expected floats of shape \(5, 3\)",
        ),
        (
            replace("features", np.zeros(5)),
            r"`features` is .*\(5,\), expected floats of shape \(5, 0\)",
        ),
        (
            replace("sizes", np.zeros((5, 3))),
            r"`sizes` is .*\(5, 3\), expected int32 of shape \(5, 2\)",
        ),
        (replace("status", 3), r"`status` is int64 of shape \(\), expected uint8 of shape \(5,\)"),
        (replace("ids", np.arange(5)), r"`ids` is int64 of shape \(5,\), expected text"),
    ],
)
def test_a_wrong_layout_is_named(tmp_path, change, message):
    path = broken(tmp_path / "a.h5", change)
    with pytest.raises(HamlearnError, match=message) as caught:
        FeatureFile(path)
    assert str(path) in str(caught.value)


def test_an_unknown_dataset_is_named(tmp_path):
    with FeatureFile(write(tmp_path / "a.h5")) as file, pytest.raises(HamlearnError, match="boxes"):
        file.rows("boxes", [0])


@pytest.mark.parametrize("limit", [0, 3000, 20_000, 60_000, 150_000])
def test_a_full_disk_is_one_error_that_names_the_file(tmp_path, limit):
    target, ids = tmp_path / "a.h5", [str(number) for number in range(30)]
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
        try:
            columns = object_columns(250, 4, "float32")
            full = {name: np.ones(shape) for name, (shape, _) in columns.items()}
            with feature_writer(target, ids, columns, attributes("objects"), ["dog"]) as writer:
                for row in range(30):
                    writer.put(row, (1, 1), **full)
        except HamlearnError as error:
            os._exit(17 if str(error) == f"{target}: could not be written: File too large" else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == (17 if limit < 120_000 else 2)
    assert list(tmp_path.iterdir()) == ([] if limit < 120_000 else [target])


@pytest.mark.parametrize(
    ("network", "drawn", "warned"),
    [(OF_DEMO, False, True), (OF_DEMO, True, False), ("torchvision:demo", False, False)],
)
def test_networks_of_the_demo_on_other_images_are_warned_of(
    tmp_path, caplog, network, drawn, warned
):
    if drawn:
        (tmp_path / "ceiling.json").touch()
    warn_of_demo([network], tmp_path / "images" / "a.jpg")
    assert ("know only what the demo drew" in caplog.text) == warned
    warn_of_demo([OF_DEMO], None)
    assert len(caplog.records) == warned


def test_regions_state_their_grid_and_have_a_width_of_their_own(tmp_path):
    columns = image_columns(3, "float32", regions=(6, 2))
    path = tmp_path / "a.h5"
    with feature_writer(path, ["a"], columns, attributes(grid="2x3")) as writer:
        writer.put(0, (4, 5), features=np.ones(3), regions=np.arange(12.0).reshape(6, 2))
    with FeatureFile(path) as file:
        assert (file.grid, file.stages) == ((2, 3), ())
        assert file.rows("regions", [0])[0, 5].tolist() == [10, 11]
    with FeatureFile(write(tmp_path / "old.h5", regions=True)) as file:
        assert file.grid == (7, 7)
    with FeatureFile(write(tmp_path / "none.h5")) as file:
        assert file.grid == (0, 0)


@pytest.mark.parametrize("grid", ["7x6", "0x49", "49", "seven", 49])
def test_a_grid_that_is_not_that_of_the_regions_is_refused(grid, tmp_path):
    path = write(tmp_path / "a.h5", regions=True, grid=grid)
    with pytest.raises(HamlearnError, match=r"grid|regions"):
        FeatureFile(path)
