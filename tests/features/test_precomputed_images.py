import base64
import json

import numpy as np
import pytest

from hamlearn.corpus.posts import CorpusPost, write_posts
from hamlearn.errors import HamlearnError
from hamlearn.features.extraction import extract_images
from hamlearn.features.precomputed_images import PrecomputedImages
from hamlearn.features.store import FeatureFile
from hamlearn.networks import PrecomputedImageSettings
from hamlearn.settings import load_settings

F, GRID, WIDTH = 5, (2, 3), 4
RNG = np.random.default_rng(0)
VECTORS = {name: RNG.normal(size=F).astype(np.float32) for name in ("17_06.1", "b", "unused")}
MAPS = {name: RNG.normal(size=(*GRID, WIDTH)).astype(np.float32) for name in VECTORS}


def folder(path, maps=MAPS):
    path.mkdir()
    for name, vector in VECTORS.items():
        own = {} if maps is None else {"regions": maps[name]}
        np.savez(path / f"{name}.jpg.npz", features=vector, **own)
    return "npz", path


def one_file(path, maps=MAPS, compressed=False):
    own = {} if maps is None else {"regions": np.stack([*maps.values()])}
    save = np.savez_compressed if compressed else np.savez
    save(path, ids=[f"{name}.png" for name in VECTORS], features=[*VECTORS.values()], **own)
    return "npz", path


def array(path):
    np.save(path, np.stack([*VECTORS.values()]))
    path.with_suffix(".txt").write_text("\n".join(VECTORS) + "\n")
    return "npy", path


def tsv(path, header=True):
    rows = [["image_id", "features"]] if header else []
    rows += [[name, base64.b64encode(own.tobytes()).decode()] for name, own in VECTORS.items()]
    path.write_text("".join("\t".join(row) + "\n" for row in rows))
    return "tsv", path


WAYS = {
    "folder": lambda path: folder(path / "own"),
    "one file": lambda path: one_file(path / "own.npz"),
    "compressed": lambda path: one_file(path / "own.npz", compressed=True),
    "array": lambda path: array(path / "own.npy"),
    "tsv": lambda path: tsv(path / "own.tsv"),
    "tsv without header": lambda path: tsv(path / "own.tsv", header=False),
}


@pytest.fixture
def posts(tmp_path):
    ids = ("17_06.1.jpg", "b", "absent")
    made = [CorpusPost(one, "train", one, None, ("a",), ("O",)) for one in ids]
    write_posts(tmp_path / "posts.jsonl", made)
    return tmp_path / "posts.jsonl"


def settings(form, path, **more):
    given = {"dtype": "float32", "precomputed": {"format": form, "path": str(path)}} | more
    return load_settings(json.dumps({"backbone": "precomputed", "image_features": given}))


@pytest.mark.parametrize("way", WAYS)
def test_vectors_are_stored_by_image_whatever_the_format(way, posts, tmp_path):
    form, path = WAYS[way](tmp_path)
    extract_images(posts, tmp_path / "a.h5", settings(form, path), "precomputed")
    with FeatureFile(tmp_path / "a.h5", "images") as file:
        assert file.ids == ["17_06.1.jpg", "b", "absent"]
        assert file.rows("status", range(3)).tolist() == [0, 0, 1]
        assert file.reasons[2].startswith("no features of this name in own")
        for row, name in enumerate(("17_06.1", "b")):
            np.testing.assert_array_equal(file.rows("features", [row])[0], VECTORS[name])
        assert (file.grid, "regions" in file.arrays) == ((0, 0), False)
        assert file.attributes["extractor"] == "precomputed"
        assert json.loads(file.attributes["settings"])["backend"] == form


@pytest.mark.parametrize("way", ["folder", "one file"])
def test_maps_are_stored_row_by_row_with_their_grid(way, posts, tmp_path):
    chosen = settings(*WAYS[way](tmp_path), regions=True)
    extract_images(posts, tmp_path / "a.h5", chosen, "precomputed")
    with FeatureFile(tmp_path / "a.h5") as file:
        assert file.grid == GRID
        for cell in range(6):
            expected = MAPS["b"][cell // 3, cell % 3]
            np.testing.assert_array_equal(file.rows("regions", [1])[0, cell], expected)


def test_rows_of_regions_without_a_grid_are_one_column(posts, tmp_path):
    flat = {name: own.reshape(6, WIDTH) for name, own in MAPS.items()}
    extract_images(
        posts,
        tmp_path / "a.h5",
        settings(*folder(tmp_path / "own", flat), regions=True),
        "precomputed",
    )
    with FeatureFile(tmp_path / "a.h5") as file:
        assert file.grid == (6, 1)
        np.testing.assert_array_equal(file.rows("regions", [1])[0], flat["b"])


def test_maps_that_are_read_and_not_there_are_refused(posts, tmp_path):
    form, path = folder(tmp_path / "own", None)
    for name in ("regions", "stages"):
        chosen = settings(form, path, **{name: True})
        with pytest.raises(HamlearnError, match=f"precomputed: found features without {name}"):
            extract_images(posts, tmp_path / "a.h5", chosen, "precomputed")
        assert not (tmp_path / "a.h5").exists()


def test_no_image_found_shows_a_name_of_each_side(posts, tmp_path):
    (tmp_path / "own").mkdir()
    np.savez(tmp_path / "own/other.npz", features=np.ones(3))
    with pytest.raises(HamlearnError, match=r"none of 3 images.*'17_06\.1\.jpg'.*'other'"):
        extract_images(posts, tmp_path / "a.h5", settings("npz", tmp_path / "own"), "precomputed")


def test_a_damaged_file_is_counted_and_another_shape_refused(posts, tmp_path):
    form, path = folder(tmp_path / "own")
    (path / "b.jpg.npz").write_bytes(b"PK nothing")
    extract_images(posts, tmp_path / "a.h5", settings(form, path), "precomputed")
    with FeatureFile(tmp_path / "a.h5") as file:
        assert file.rows("status", range(3)).tolist() == [0, 2, 1]
    np.savez(path / "b.jpg.npz", features=np.ones(F + 1), regions=MAPS["b"])
    with pytest.raises(HamlearnError, match=r"b\.jpg\.npz: features are .*expected.*\(5,\)"):
        extract_images(posts, tmp_path / "b.h5", settings(form, path), "precomputed")
    np.savez(path / "b.jpg.npz", features=np.full(F, np.nan), regions=MAPS["b"])
    with pytest.raises(HamlearnError, match=r"b\.jpg\.npz: features are not finite"):
        extract_images(posts, tmp_path / "b.h5", settings(form, path), "precomputed")


BAD = {
    "objects": (
        lambda path: np.savez(path, features=np.array([{}], object), ids=["b"]),
        "only unpickling reads",
    ),
    "no features": (lambda path: np.savez(path, ids=["b"]), "found no array `features`"),
    "other rows": (
        lambda path: np.savez(path, ids=["b"], features=np.ones((2, 3))),
        "a row for each of 1 ids",
    ),
    "twice": (
        lambda path: np.savez(path, ids=["b", "b"], features=np.ones((2, 3))),
        "occurs twice",
    ),
    "not an archive": (lambda path: path.write_bytes(b"no"), "expected a folder or file of npz"),
    "bomb": (
        lambda path: np.savez_compressed(path, ids=["b"], features=np.zeros((1, 1 << 25))),
        "save it uncompressed",
    ),
    "too flat": (lambda path: np.savez(path, ids=["b"], features=np.ones(1)), "expected (F,)"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_file_ends_in_one_sentence(case, tmp_path):
    write, said = BAD[case]
    write(tmp_path / "a.npz")
    with pytest.raises(HamlearnError) as caught:
        PrecomputedImages(PrecomputedImageSettings(path=str(tmp_path / "a.npz")))
    assert said in str(caught.value)


def test_halves_read_as_floats_are_refused(tmp_path):
    text = base64.b64encode(RNG.normal(size=512).astype(np.float16).tobytes()).decode()
    (tmp_path / "a.tsv").write_text(f"b\t{text}\n")
    with pytest.raises(HamlearnError, match=r"image_features\.precomputed\.dtype: float16"):
        PrecomputedImages(PrecomputedImageSettings(format="tsv", path=str(tmp_path / "a.tsv")))
