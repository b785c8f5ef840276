import tracemalloc

import numpy as np
import pytest
from PIL import Image

from hamlearn.corpus.posts import CorpusPost, write_posts
from hamlearn.demo.corpus import draw_post
from hamlearn.demo.corpus import write_corpus as write_demo
from hamlearn.errors import HamlearnError
from hamlearn.features.extraction import extract_objects
from hamlearn.features.graphs import build_graphs
from hamlearn.features.merge import merge_shards
from hamlearn.features.precomputed import Precomputed
from hamlearn.features.store import FeatureFile
from hamlearn.networks import PrecomputedSettings
from hamlearn.settings import load_settings
from hamlearn.vision.images import ImageError
from tests.features.object_samples import SIZE, made_up, tsv_line, write_vinvl

BEST = 4
IDS = ("a", "b", "c", "none")


def settings(path, form="vinvl", **more):
    options = {"format": form, "path": str(path)} | more.pop("precomputed", {})
    chosen = {"objects": BEST, "dtype": "float32", "precomputed": options}
    return load_settings(str({"object_features": chosen} | more).replace("None", "null"))


def write_corpus(folder, ids=(*IDS, "absent")):
    posts = [CorpusPost(image, "train", image, None, ("w",), ("O",)) for image in ids]
    write_posts(folder / "posts.jsonl", posts)
    return folder / "posts.jsonl"


@pytest.fixture
def pictures():
    kept = {image: made_up(seed, count=6) for seed, image in enumerate(IDS)}
    return kept | {"none": made_up(9, count=0)}


def written(folder, form, pictures):
    """Write the pictures in a format and return where they are."""
    if form == "tsv":
        lines = (tsv_line(image, objects) for image, objects in pictures.items())
        (folder / "a.tsv").write_text("".join(lines))
        return folder / "a.tsv"
    (folder / "kept").mkdir()
    for image, objects in pictures.items():
        path = folder / "kept" / f"{image}.jpg.npz"
        write_vinvl(path, objects) if form == "vinvl" else np.savez(path, **objects)
    return folder / "kept"


@pytest.mark.parametrize("form", ["vinvl", "tsv", "npz"])
def test_every_format_gives_the_file_of_a_detector(tmp_path, pictures, form):
    posts, path = write_corpus(tmp_path), written(tmp_path, form, pictures)
    shards = [tmp_path / f"{number}.h5" for number in (1, 2)]
    for number, shard in enumerate(shards, start=1):
        extract_objects(posts, shard, settings(path, form), "precomputed", (number, 2))
    merge_shards(shards, posts, tmp_path / "all.h5", tmp_path / "failures.csv")
    assert (tmp_path / "failures.csv").read_text().splitlines()[1:] == [
        f"absent,missing,no features of this name in {path.name}"
    ]
    with FeatureFile(tmp_path / "all.h5") as file:
        known = form != "tsv"
        assert file.classes == (["big dog", "dog", "tree"] if known else ["object"])
        assert file.attributes["extractor"] == "precomputed"
        assert file.attributes["random_weights"] is False
        for image in IDS[:3]:
            row = {name: file.rows(name, [file.row_of[image]])[0] for name in file.columns()}
            objects = pictures[image]
            best = np.argsort(-objects["scores"])[:BEST] if known else np.arange(BEST)
            assert row["counts"] == BEST
            np.testing.assert_array_equal(row["features"], objects["features"][best])
            shares = objects["boxes"][best] / np.array([*SIZE, *SIZE])
            np.testing.assert_allclose(row["boxes"], shares, atol=1e-6)
            np.testing.assert_array_equal(row["scores"], objects["scores"][best] if known else 0)
            names = [file.classes[label] for label in row["labels"]]
            assert names == (objects["names"][best].tolist() if known else ["object"] * BEST)
        none = [file.row_of["none"]]
        assert file.rows("counts", none).tolist() == [1]
        assert file.rows("labels", none)[0, 0] == len(file.classes)
        assert file.rows("boxes", none)[0, 0].tolist() == [0, 0, 1, 1]
        assert file.rows("status", range(5)).tolist() == [0, 0, 0, 0, 1]
        assert file.rows("sizes", none).tolist() == [list(SIZE)]
    build_graphs(tmp_path / "all.h5", tmp_path / "graphs.h5", settings(path, form).graph)


def test_missing_features_can_be_an_error(tmp_path, pictures):
    posts, path = write_corpus(tmp_path), written(tmp_path, "vinvl", pictures)
    strict = settings(path, pictures={"unreadable": "error"})
    with pytest.raises(HamlearnError, match="image absent: no features of this name"):
        extract_objects(posts, tmp_path / "a.h5", strict, "precomputed")
    assert not (tmp_path / "a.h5").exists()


@pytest.mark.parametrize("form", ["vinvl", "tsv", "npz"])
def test_features_of_no_image_of_the_corpus_are_refused(tmp_path, pictures, form):
    path = written(tmp_path, form, pictures)
    posts = write_corpus(tmp_path, ids=("x.jpg", "y.jpg"))
    message = f"{path}: found objects for none of 2 images: expected names such as 'x.jpg', found"
    with pytest.raises(HamlearnError, match=f"{message} such as 'a"):
        extract_objects(posts, tmp_path / "a.h5", settings(path, form), "precomputed")
    assert not (tmp_path / "a.h5").exists()


def test_a_part_of_the_images_is_said_and_counts_over_all_shards(tmp_path, pictures, caplog):
    caplog.set_level("INFO")
    posts, path = write_corpus(tmp_path, ids=("a.jpg", "x")), written(tmp_path, "npz", pictures)
    for number in (1, 2):  # the second has none
        out = tmp_path / f"{number}.h5"
        extract_objects(posts, out, settings(path, "npz"), "precomputed", (number, 2))
    assert f"{path}: objects for 1 of 2 images" in caplog.text
    merge_shards([tmp_path / "1.h5", tmp_path / "2.h5"], posts, tmp_path / "all.h5")
    with FeatureFile(tmp_path / "all.h5") as file:
        assert file.rows("status", range(2)).tolist() == [0, 1]


def found(path, form="npz", ids=("a",), pictures=None, **options):
    given = Precomputed(PrecomputedSettings(format=form, path=str(path), **options))
    wanted = {image: (pictures or {}).get(image) for image in ids}
    return given, [item.value for item in given.found(wanted, BEST, 10**6)]


def test_sizes_that_are_not_told_are_those_of_the_images(tmp_path):
    objects = {name: made_up()[name] for name in ("boxes", "features")}
    for image in "abc":
        np.savez(tmp_path / f"{image}.npz", **objects)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", SIZE[::-1]).save(tmp_path / "a.jpg", exif=exif)
    (tmp_path / "b.jpg").touch()
    paths = {"a": tmp_path / "a.jpg", "b": tmp_path / "b.jpg"}
    given = Precomputed(PrecomputedSettings(format="npz", path=str(tmp_path)))
    first, second, third = given.found({**paths, "c": None}, BEST, 10**6)
    assert first.size == SIZE
    assert isinstance(second.value, ImageError)
    assert second.value.reason == "zero bytes"
    assert third.value.reason == "the corpus has no picture of this name"


def test_classes_are_the_same_whatever_shard_asks(tmp_path):
    for image, name in (("b", "ox"), ("a", "zebra"), ("c", "ant")):
        write_vinvl(tmp_path / f"{image}.npz", made_up(count=1) | {"names": np.array([name])})
    given, (best,) = found(tmp_path, "vinvl")
    assert given.classes == ["ant", "ox", "zebra"]
    assert best.labels.tolist() == [2]
    (tmp_path / "names.txt").write_bytes(b"\xef\xbb\xbfzebra,striped horse\r\nox\nant\n")
    given, (best,) = found(tmp_path, "vinvl", classes=str(tmp_path / "names.txt"))
    assert given.classes == ["zebra", "ox", "ant"]
    assert best.labels.tolist() == [0]
    (tmp_path / "names.txt").write_text("ox\nant")
    with pytest.raises(HamlearnError, match=r"a\.npz: class 'zebra' is not among the 2"):
        found(tmp_path, "vinvl", classes=str(tmp_path / "names.txt"))


def test_classes_by_number(tmp_path):
    path = tmp_path / "a.tsv"
    objects = made_up() | {"labels": np.array([1599, 0, 7]), "scores": np.array([0.3, 0.5, 0.4])}
    path.write_text(tsv_line("a", objects, 10))
    given, (best,) = found(path, "tsv")
    assert (len(given.classes), given.classes[7]) == (1600, "vg_0007")
    assert best.labels.tolist() == [0, 7, 1599]
    (tmp_path / "names.txt").write_text("a\nb\n")
    with pytest.raises(HamlearnError, match=r"a\.tsv:1: classes are int64 from 0 to 1599"):
        found(path, "tsv", classes=str(tmp_path / "names.txt"))
    np.savez(tmp_path / "a.npz", **{k: v for k, v in objects.items() if k != "names"})
    with pytest.raises(HamlearnError, match="its classes are numbers"):
        found(tmp_path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"boxes": made_up()["boxes"] / 200}, "expected pixels, not fractions"),
        ({"boxes": made_up()["boxes"][:, [2, 3, 0, 1]]}, "ends before it begins"),
        ({"width": 100, "height": 200}, r"in an image of 100x200.*swapped"),
        ({"width": 0}, "the image is 0x100"),
        ({"boxes": made_up()["boxes"] * np.nan}, "boxes are not finite"),
        ({"boxes": made_up()["boxes"][:, :3]}, r"boxes are float32 of shape \(3, 3\)"),
        ({"features": made_up(count=2)["features"]}, r"features are .*\(2, 4\).*\(3, 4\)"),
        ({"features": np.full((3, 4), np.inf)}, "features are not finite"),
        ({"features": made_up(width=5)["features"]}, r"\(3, 5\).*\(3, 4\)"),
        ({"scores": np.zeros((3, 2))}, r"scores are .*\(3, 2\)"),
        ({"names": np.array(["dog"])}, "classes, expected those of 3"),
        ({"names": None}, "has no classes, expected them"),
        ({"scores": np.array(["high"] * 3)}, "scores are <U4"),
    ],
)
def test_malformed_rows_are_named(tmp_path, change, said):
    np.savez(tmp_path / "0.npz", **made_up())
    changed = {k: v for k, v in (made_up() | change).items() if v is not None}
    np.savez(tmp_path / "a.npz", **changed)
    with pytest.raises(HamlearnError, match=said) as error:
        found(tmp_path)
    assert f"{tmp_path / 'a.npz'}: " in str(error.value)


def test_boxes_without_area_are_dropped_and_equal_scores_keep_their_order(tmp_path):
    objects = made_up(count=3) | {"scores": np.full(3, 0.5, np.float32)}
    objects["boxes"][1, 2] = objects["boxes"][1, 0]
    np.savez(tmp_path / "a.npz", **objects)
    _, (best,) = found(tmp_path)
    np.testing.assert_array_equal(best.features, objects["features"][[0, 2]])


def test_memory_is_flat(tmp_path):
    peaks = []
    for image in range(300):
        write_vinvl(tmp_path / f"{image}.npz", made_up(image, count=36, width=256))
    for count in (30, 300):
        posts = write_corpus(tmp_path, [str(image) for image in range(count)])
        tracemalloc.start()
        extract_objects(posts, tmp_path / "a.h5", settings(tmp_path), "precomputed")
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 2**20, peaks  # all features of 270 more pictures are 9 MiB


def test_files_without_any_object_are_named(tmp_path):
    np.savez(tmp_path / "a.npz", boxes=np.zeros((0, 4)), features=np.zeros((0, 4)))
    with pytest.raises(HamlearnError, match="found no object"):
        found(tmp_path)


def test_the_objects_of_the_demo_are_those_that_were_composed(tmp_path):
    write_demo(tmp_path / "drawn", 3, 30)
    given = Precomputed(PrecomputedSettings(format="drawn", path=str(tmp_path / "drawn")))
    posts = [draw_post(3, "test", number)[0] for number in range(5)]
    for item, post in zip(given.found({p.id: None for p in posts}, 15, 1), posts, strict=True):
        drawn = post.composition
        assert item.size == (drawn.width, drawn.height)
        np.testing.assert_allclose(item.value.boxes, [box for _, box in drawn.objects], atol=1e-4)
        kinds = [kind for kind, _ in drawn.objects]
        assert [given.classes[label] for label in item.value.labels] == kinds
        assert [given.classes[hot] for hot in item.value.features.argmax(1)] == kinds
        assert item.value.features.sum() == len(kinds)
