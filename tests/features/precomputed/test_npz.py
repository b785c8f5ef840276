import numpy as np
import pytest

from hamlearn.errors import HamlearnError
from hamlearn.features.precomputed.npz import OWN, VINVL, NpzFolder
from hamlearn.vision.images import ImageError, Status
from tests.features.precomputed.kept import SIZE, made_up, write_vinvl


def same(row, objects):
    for name in ("boxes", "features", "scores", "names"):
        np.testing.assert_array_equal(getattr(row, name), objects[name])
    assert row.size == SIZE


def test_vinvl_is_read_by_image_id(tmp_path):
    write_vinvl(tmp_path / "a.1.jpg.npz", made_up(0))
    write_vinvl(tmp_path / "O_2.npz", made_up(1))
    reader = NpzFolder(tmp_path, VINVL)
    same(reader.read("a.1"), made_up(0))
    same(reader.read("O_2"), made_up(1))
    survey = reader.survey()
    assert (survey.width, survey.labels) == (4, False)
    assert survey.names == {*made_up(0)["names"], *made_up(1)["names"]}
    with pytest.raises(ImageError, match="no features of this name") as error:
        reader.read("b")
    assert error.value.status == Status.MISSING


def test_our_own_layout_may_leave_parts_out(tmp_path):
    objects = made_up()
    np.savez_compressed(tmp_path / "a.npz", **objects)
    np.savez(tmp_path / "b.npz", boxes=objects["boxes"], features=objects["features"])
    reader = NpzFolder(tmp_path, OWN)
    same(reader.read("a"), objects)
    row = reader.read("b")
    assert (row.scores, row.names, row.labels, row.size) == (None, None, None, None)


def test_the_digest_is_that_of_what_is_stored(tmp_path):
    digests = []
    for seed in (0, 1, 0):
        write_vinvl(tmp_path / "a.npz", made_up(seed))
        digests.append(NpzFolder(tmp_path, VINVL).survey().digest)
    write_vinvl(tmp_path / "b.npz", made_up(1))
    digests.append(NpzFolder(tmp_path, VINVL).survey().digest)
    assert digests[0] == digests[2]
    assert len(set(digests)) == 3


@pytest.mark.parametrize("name", ["objects", "box_features", "image_w"])
def test_arrays_that_need_unpickling_are_refused_by_name(tmp_path, name):
    values = {VINVL[part]: value for part, value in made_up().items()}
    values[name] = np.array([{"a": 1}] * 3, dtype=object)
    np.savez(tmp_path / "a.npz", **values)
    with pytest.raises(HamlearnError, match=rf"a\.npz: the array `{name}` holds Python objects"):
        NpzFolder(tmp_path, VINVL).read("a")


@pytest.mark.parametrize("kept", [0, 100, 0.5, -1])
def test_broken_files_are_the_failure_of_one_picture(tmp_path, kept):
    write_vinvl(tmp_path / "good.npz", made_up())
    write_vinvl(tmp_path / "cut.npz", made_up(count=20, width=50))
    content = bytearray((tmp_path / "cut.npz").read_bytes())
    if kept == -1:
        middle = content.index(b"box_features.npy") + 400
        content[middle] ^= 255  # the checksum no longer fits
    else:
        content = content[: int(kept * len(content)) if kept < 1 else kept]
    (tmp_path / "cut.npz").write_bytes(content)
    reader = NpzFolder(tmp_path, VINVL)
    assert reader.survey().width == 4
    with pytest.raises(ImageError, match=r"cut\.npz: its features") as error:
        reader.read("cut")
    assert error.value.status == Status.UNDECODABLE


def test_folders_that_hold_something_else_are_named(tmp_path):
    with pytest.raises(HamlearnError, match="no such folder"):
        NpzFolder(tmp_path / "absent", VINVL)
    with pytest.raises(HamlearnError, match="no npz files"):
        NpzFolder(tmp_path, VINVL)
    np.savez(tmp_path / "a.npz", **made_up())
    with pytest.raises(HamlearnError, match=r"no array `bounding_boxes`, it has boxes, features"):
        NpzFolder(tmp_path, VINVL).survey()
    np.savez(tmp_path / "a.jpg.npz", **made_up())
    with pytest.raises(HamlearnError, match="the picture 'a' is there twice"):
        NpzFolder(tmp_path, OWN)


def test_a_folder_without_any_object_is_named(tmp_path):
    np.savez(tmp_path / "a.npz", boxes=np.zeros((0, 4)), features=np.zeros((0, 4)))
    with pytest.raises(HamlearnError, match="found no object"):
        NpzFolder(tmp_path, OWN).survey()


@pytest.mark.parametrize("size", [{"width": 3}, {"width": "x", "height": 3}, {"height": [1, 2]}])
def test_sizes_are_two_numbers(tmp_path, size):
    objects = {name: value for name, value in made_up().items() if name not in ("width", "height")}
    np.savez(tmp_path / "a.npz", **objects, **size)
    with pytest.raises(HamlearnError, match="expected two numbers"):
        NpzFolder(tmp_path, OWN).read("a")
