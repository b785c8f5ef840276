"""The readers of object files against what numpy alone wrote, and what they refuse."""

import json
import re

import numpy as np
import pytest

from hamlearn.errors import HamlearnError
from hamlearn.features.object_files import OWN, VINVL, drawn_objects, npz_folder
from hamlearn.features.tsv_objects import tsv_file
from hamlearn.vision.images import ImageError, Status
from tests.features.object_samples import SIZE, made_up, tsv_line, write_vinvl


def same(row, objects):
    for name in ("boxes", "features", "scores", "names"):
        np.testing.assert_array_equal(getattr(row, name), objects[name])
    assert row.size == SIZE


def test_vinvl_is_read_by_image_id(tmp_path):
    write_vinvl(tmp_path / "a.1.jpg.npz", made_up(0))
    write_vinvl(tmp_path / "O_2.npz", made_up(1))
    reader = npz_folder(tmp_path, VINVL)
    same(reader.read("a.1"), made_up(0))
    same(reader.read("O_2"), made_up(1))
    assert (reader.width, reader.has_labels) == (4, False)
    assert reader.names == {*made_up(0)["names"], *made_up(1)["names"]}
    with pytest.raises(ImageError, match="no features of this name") as error:
        reader.read("b")
    assert error.value.status == Status.MISSING


@pytest.mark.parametrize("end", [".jpg", ".webp", ".JPEG", ".gif", ".jpg_large", ".jpg:large", ""])
def test_an_image_id_finds_its_features_whatever_their_extension(tmp_path, end):
    write_vinvl(tmp_path / f"17_06.1{end}.npz", made_up(0))
    path = tmp_path / "a.tsv"
    path.write_text("\ufeff" + tsv_line(f"D:\\images/17_06.1{end}", made_up(0)))
    for reader in (npz_folder(tmp_path, VINVL), tsv_file(path)):
        for image_id in ("17_06.1", f"17_06.1{end}", "17_06.1.jpg"):
            np.testing.assert_array_equal(reader.read(image_id).boxes, made_up(0)["boxes"])


def test_two_images_may_differ_in_their_extension(tmp_path):
    write_vinvl(tmp_path / "a.png.npz", made_up(0))
    write_vinvl(tmp_path / "a.jpg.npz", made_up(1))
    reader = npz_folder(tmp_path, VINVL)
    same(reader.read("a.png"), made_up(0))
    same(reader.read("a.jpg"), made_up(1))
    same(reader.read("a"), made_up(1))


def test_our_own_layout_may_leave_parts_out(tmp_path):
    objects = made_up()
    np.savez_compressed(tmp_path / "a.npz", **objects)
    np.savez(tmp_path / "b.npz", boxes=objects["boxes"], features=objects["features"])
    reader = npz_folder(tmp_path, OWN)
    same(reader.read("a"), objects)
    row = reader.read("b")
    assert (row.scores, row.names, row.labels, row.size) == (None, None, None, None)


def test_the_digest_is_that_of_what_is_stored(tmp_path):
    digests = []
    for seed in (0, 1, 0):
        write_vinvl(tmp_path / "a.npz", made_up(seed))
        digests.append(npz_folder(tmp_path, VINVL).digest)
    write_vinvl(tmp_path / "b.npz", made_up(1))
    digests.append(npz_folder(tmp_path, VINVL).digest)
    assert digests[0] == digests[2]
    assert len(set(digests)) == 3


@pytest.mark.parametrize("name", ["objects", "box_features", "image_w"])
def test_arrays_that_need_unpickling_are_refused_by_name(tmp_path, name):
    values = {VINVL[part]: value for part, value in made_up().items()}
    values[name] = np.array([{"a": 1}] * 3, dtype=object)
    np.savez(tmp_path / "a.npz", **values)
    with pytest.raises(HamlearnError, match=rf"a\.npz: the array `{name}` holds Python objects"):
        npz_folder(tmp_path, VINVL).read("a")


@pytest.mark.parametrize("kept", [0, 100, 0.5, -1])
def test_broken_files_are_the_failure_of_one_image(tmp_path, kept):
    write_vinvl(tmp_path / "good.npz", made_up())
    write_vinvl(tmp_path / "cut.npz", made_up(count=20, width=50))
    content = bytearray((tmp_path / "cut.npz").read_bytes())
    if kept == -1:
        middle = content.index(b"box_features.npy") + 400
        content[middle] ^= 255  # the checksum no longer fits
    else:
        content = content[: int(kept * len(content)) if kept < 1 else kept]
    (tmp_path / "cut.npz").write_bytes(content)
    reader = npz_folder(tmp_path, VINVL)
    assert reader.width == 4
    with pytest.raises(ImageError, match=r"cut\.npz: its features") as error:
        reader.read("cut")
    assert error.value.status == Status.UNDECODABLE


def test_folders_that_hold_something_else_are_named(tmp_path):
    for folder in (tmp_path / "absent", tmp_path):
        with pytest.raises(HamlearnError, match="found no npz files"):
            npz_folder(folder, VINVL)
    np.savez(tmp_path / "a.npz", **made_up())
    with pytest.raises(HamlearnError, match=r"no array `bounding_boxes`, it has boxes, features"):
        npz_folder(tmp_path, VINVL)
    np.savez(tmp_path / "a.jpg.npz", **made_up())
    with pytest.raises(HamlearnError, match="the image 'a' occurs twice"):
        npz_folder(tmp_path, OWN)


@pytest.mark.parametrize("size", [{"width": 3}, {"width": "x", "height": 3}, {"height": [1, 2]}])
def test_sizes_are_two_numbers(tmp_path, size):
    objects = {name: value for name, value in made_up().items() if name not in ("width", "height")}
    np.savez(tmp_path / "a.npz", **objects, **size)
    with pytest.raises(HamlearnError, match="expected two numbers"):
        npz_folder(tmp_path, OWN).read("a")


def manifest(folder, *posts):
    (folder / "manifest.jsonl").write_text("".join(json.dumps(post) + "\n" for post in posts))


def test_the_classes_of_a_manifest_are_those_of_all_its_posts(tmp_path):
    objects = [{"class": "tree", "box": [0, 0, 4, 5]}, {"class": "ball", "box": [1, 2, 3, 4]}]
    posts = [
        {"id": name, "width": 9, "height": 8, "objects": own}
        for name, own in (("a", objects), ("b", []), ("c", [{"class": "dog", "box": [0, 0, 1, 1]}]))
    ]
    manifest(tmp_path, *posts)
    reader = drawn_objects(tmp_path)
    assert (reader.width, reader.names, reader.has_labels) == (3, {"ball", "dog", "tree"}, False)
    row = reader.read("a")
    assert (row.names.tolist(), row.size) == (["tree", "ball"], (9, 8))
    assert row.boxes.tolist() == [[0, 0, 4, 5], [1, 2, 3, 4]]
    assert row.features.tolist() == [[0, 0, 1], [1, 0, 0]]
    assert row.scores.tolist() == [1, 1]
    assert reader.read("b").features.shape == (0, 3)
    with pytest.raises(ImageError, match="no features of this name"):
        reader.read("d")
    digest = reader.digest
    manifest(tmp_path, *posts[:2])
    assert drawn_objects(tmp_path).digest != digest


@pytest.mark.parametrize(
    "line",
    [
        "{",
        "[]",
        '{"id": "a", "width": 9, "height": 9}',
        '{"id": "a", "width": 1e999, "height": 9, "objects": []}',
        '{"id": "a", "width": 9, "height": 9, "objects": [{"box": [0, 0, 1, 1]}]}',
        '{"id": "a", "width": 9, "height": 9, "objects": [{"class": "dog", "box": ["x"]}]}',
    ],
)
def test_another_file_is_refused_by_line(tmp_path, line):
    (tmp_path / "manifest.jsonl").write_text(line + "\n")
    with pytest.raises(HamlearnError, match=r"manifest\.jsonl:1: .*expected a line of a manifest"):
        drawn_objects(tmp_path)


def test_a_folder_that_was_not_drawn_is_named(tmp_path):
    with pytest.raises(HamlearnError, match="expected a corpus of the demo"):
        drawn_objects(tmp_path)


def test_names_in_bytes_are_decoded(tmp_path):
    objects = made_up() | {"names": np.array(["dog", "h\u00fct", "big dog"])}
    coded = objects | {"names": np.char.encode(objects["names"], "utf-8")}
    np.savez(tmp_path / "a.npz", **coded)
    reader = npz_folder(tmp_path, OWN)
    same(reader.read("a"), objects)
    assert reader.names == {"dog", "h\u00fct", "big dog"}
    np.savez(tmp_path / "a.npz", **coded | {"names": np.array([b"dog", b"\xff", b"big dog"])})
    with pytest.raises(HamlearnError, match=r"a\.npz: the array `names` is not UTF-8"):
        npz_folder(tmp_path, OWN)


@pytest.mark.parametrize("shape", [(3, 4, 1, 1), (1, 3, 4), (12,)])
def test_features_of_another_shape_are_named(tmp_path, shape):
    objects = made_up()
    np.savez(tmp_path / "a.npz", **objects | {"features": objects["features"].reshape(shape)})
    said = re.escape(f"a.npz: features are of shape {shape}, expected (O, F)")
    with pytest.raises(HamlearnError, match=said):
        npz_folder(tmp_path, OWN)
