"""The reader of TSV against what numpy and base64 alone wrote, and what it refuses."""

import numpy as np
import pytest

from hamlearn.errors import HamlearnError
from hamlearn.features.tsv_objects import COLUMNS, tsv_file
from hamlearn.vision.images import ImageError
from tests.features.object_samples import SIZE, coded, made_up, tsv_line


def numbered(seed):
    return made_up(seed) | {"labels": np.array([5, 0, 1599])}


def test_bottom_up_attention_has_neither_classes_nor_scores(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("".join(tsv_line(f"{seed}.jpg", made_up(seed)) for seed in range(3)))
    reader = tsv_file(path)
    for seed in (2, 0, 1):
        row = reader.read(str(seed))
        np.testing.assert_array_equal(row.boxes, made_up(seed)["boxes"])
        np.testing.assert_array_equal(row.features, made_up(seed)["features"])
        assert (row.scores, row.labels, row.names, row.size) == (None, None, None, SIZE)
        assert row.place == f"{path}:{seed + 1}"
    assert (reader.width, reader.names, reader.has_labels) == (4, set(), False)
    with pytest.raises(ImageError, match=r"no features of this name in a\.tsv"):
        reader.read("3")


@pytest.mark.parametrize("header", [False, True])
def test_lxmert_has_classes_and_scores(tmp_path, header):
    path = tmp_path / "a.tsv"
    names = "\t".join(COLUMNS[10]).replace("image_", "img_") + "\n"
    lines = [tsv_line(f"x_{seed}", numbered(seed), 10) for seed in range(2)]
    path.write_text(names * header + "".join(lines))
    reader = tsv_file(path)
    row = reader.read("x_1")
    np.testing.assert_array_equal(row.features, made_up(1)["features"])
    np.testing.assert_array_equal(row.scores, made_up(1)["scores"])
    assert row.labels.tolist() == [5, 0, 1599]
    assert row.size == SIZE
    assert reader.has_labels


def test_a_header_may_have_any_order_and_more(tmp_path):
    fields = dict(zip(COLUMNS[6], tsv_line("a", made_up()).split("\t"), strict=True))
    fields = {name: fields[name].strip() for name in reversed(COLUMNS[6])} | {"cls_prob": "?"}
    (tmp_path / "a.tsv").write_text(
        "\ufeff" + "\t".join(fields) + "\n" + "\t".join(fields.values())
    )
    np.testing.assert_array_equal(
        tsv_file(tmp_path / "a.tsv").read("a").features, made_up()["features"]
    )


def test_a_image_without_objects(tmp_path):
    nothing = made_up(count=0)
    path = tmp_path / "a.tsv"
    path.write_text(tsv_line("a", nothing) + tsv_line("b", made_up()))
    assert tsv_file(path).read("a").boxes.shape == (0, 4)
    assert tsv_file(path).width == 4


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda line: line.replace("\t", " ", 1), "5 columns and no header"),
        (lambda line: line + line[:9], "a.tsv:2: found 3 columns, expected 6"),
        (lambda line: line + line, "the image 'a' occurs twice"),
        (lambda line: line + "x/" + line, "the image 'a' occurs twice"),
        (lambda line: line.replace("\t3\t", "\t4\t"), "a.tsv:1: boxes has 12 numbers, expected 16"),
        (lambda line: line.replace("\t3\t", "\tx\t"), "num_boxes is b'x', expected a whole number"),
        (lambda line: line.replace("\t200\t", "\t2e2\t"), "image_w is b'2e2'"),
        (lambda line: line.rstrip()[:-7] + "\n", "features is not base64 of float32"),
        (lambda line: line.rstrip()[:-16] + "AA==\n", "features"),
        (lambda line: "image_id\tboxes\n", "the header lacks features, image_h"),
    ],
)
def test_malformed_files_are_named_with_line_and_column(tmp_path, change, said):
    path = tmp_path / "a.tsv"
    path.write_text(change(tsv_line("a", made_up())))
    with pytest.raises(HamlearnError) as error:
        tsv_file(path).read("a")
    assert said in str(error.value)


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(HamlearnError, match=r"a\.tsv: no such file"):
        tsv_file(tmp_path / "a.tsv")


FLOATS = ("float16", "float32", "float64")


def one_hot(rng, shape):
    return np.eye(shape[1])[rng.integers(0, shape[1], shape[0])]


FEATURES = {
    "uniform": lambda rng, shape: rng.random(shape),
    "normal": lambda rng, shape: rng.normal(size=shape),
    "pooled": lambda rng, shape: np.maximum(rng.normal(size=(*shape, 49)), 0).mean(-1),
    "sparse": lambda rng, shape: np.maximum(rng.normal(size=shape) - 1, 0),
    "small": lambda rng, shape: rng.random(shape) / 1000,
    "integers": lambda rng, shape: rng.integers(0, 9, shape),
    "one-hot": one_hot,
    "probabilities": lambda rng, shape: np.exp(3 * rng.normal(size=shape)) / 1000,
}


def write_features(path, features, kind, images=3):
    objects = made_up(count=len(features) // images)
    parts = np.split(np.asarray(features), images)
    lines = [tsv_line(f"{place}", objects | {"features": part}) for place, part in enumerate(parts)]
    for place, part in enumerate(parts):
        lines[place] = lines[place].replace(coded(part), coded(part, kind))
    path.write_text("".join(lines))
    return parts


@pytest.mark.parametrize("name", FEATURES)
@pytest.mark.parametrize("kind", FLOATS)
def test_features_of_any_type_are_read_and_of_a_wrong_one_refused(tmp_path, name, kind):
    features = FEATURES[name](np.random.default_rng(7), (12, 64))
    path = tmp_path / "a.tsv"
    parts = write_features(path, features, kind)
    reader = tsv_file(path, kind)
    assert reader.width == 64
    np.testing.assert_array_equal(reader.read("1").features, parts[1].astype(kind))
    for other in set(FLOATS) - {kind}:
        if name not in ("integers", "one-hot"):
            with pytest.raises(HamlearnError, match=f"more likely: expected .*dtype: {kind}`"):
                tsv_file(path, other)


@pytest.mark.parametrize("rounded", ["float16", "float32", "bfloat16"])
@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_numbers_that_were_rounded_before_are_of_the_type_in_the_file(tmp_path, rounded, kind):
    features = np.random.default_rng(8).gamma(1.0, size=(12, 64)).astype(np.float32)
    if rounded == "bfloat16":
        features = (features.view(np.uint32) & 0xFFFF0000).view(np.float32)
    else:
        features = features.astype(rounded)
    path = tmp_path / "a.tsv"
    write_features(path, features, kind)
    assert tsv_file(path, kind).width == 64
    if kind == "float64":
        with pytest.raises(HamlearnError, match="dtype: float64`"):
            tsv_file(path)


def test_what_was_found_is_said(tmp_path, caplog):
    path = tmp_path / "a.tsv"
    write_features(path, np.full((12, 16), 0.5) + np.arange(16) / 64, "float16")
    with pytest.raises(HamlearnError) as caught:
        tsv_file(path)
    said = "as float16 they are F = 16, 0.5 to 0.734, on average 0.617, which is more likely"
    assert f"{path}: features read as float32 are F = 8, " in str(caught.value)
    assert said in str(caught.value)
    caplog.set_level("INFO")
    tsv_file(path, "float16")
    assert "features of float16, F = 16, 0.5 to 0.734" in caplog.text


def test_boxes_are_float32_or_as_the_features(tmp_path):
    path, objects = tmp_path / "a.tsv", made_up(count=4, width=16)
    line = tsv_line("a", objects).replace(
        coded(objects["features"]), coded(objects["features"], "d")
    )
    path.write_text(line.replace(coded(objects["boxes"]), coded(objects["boxes"], "d")))
    np.testing.assert_array_equal(tsv_file(path, "float64").read("a").boxes, objects["boxes"])
    with pytest.raises(HamlearnError, match=r"a\.tsv:1: boxes has 32 numbers, expected 16"):
        tsv_file(path)


@pytest.mark.parametrize("kind", [">f4", "<i4", "<i8"])
@pytest.mark.parametrize("scale", [1, 100])
def test_numbers_that_are_none_of_the_types_are_refused(tmp_path, kind, scale):
    features = np.random.default_rng(9).integers(0, 9, (12, 64)) * scale
    path = tmp_path / "a.tsv"
    write_features(path, features, kind)
    with pytest.raises(HamlearnError, match=r"read as float32 are .*; are they big-endian"):
        tsv_file(path)
