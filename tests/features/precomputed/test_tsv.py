import numpy as np
import pytest

from hamlearn.errors import HamlearnError
from hamlearn.features.precomputed.tsv import COLUMNS, TsvFile
from hamlearn.vision.images import ImageError
from tests.features.precomputed.kept import SIZE, made_up, tsv_line


def numbered(seed):
    return made_up(seed) | {"labels": np.array([5, 0, 1599])}


def test_bottom_up_attention_has_neither_classes_nor_scores(tmp_path):
    path = tmp_path / "a.tsv"
    path.write_text("".join(tsv_line(f"{seed}.jpg", made_up(seed)) for seed in range(3)))
    reader = TsvFile(path)
    for seed in (2, 0, 1):
        row = reader.read(str(seed))
        np.testing.assert_array_equal(row.boxes, made_up(seed)["boxes"])
        np.testing.assert_array_equal(row.features, made_up(seed)["features"])
        assert (row.scores, row.labels, row.names, row.size) == (None, None, None, SIZE)
        assert row.place == f"{path}:{seed + 1}"
    survey = reader.survey()
    assert (survey.width, survey.names, survey.labels) == (4, frozenset(), False)
    with pytest.raises(ImageError, match=r"no features of this name in a\.tsv"):
        reader.read("3")


@pytest.mark.parametrize("header", [False, True])
def test_lxmert_has_classes_and_scores(tmp_path, header):
    path = tmp_path / "a.tsv"
    names = "\t".join(COLUMNS[10]).replace("image_", "img_") + "\n"
    lines = [tsv_line(f"x_{seed}", numbered(seed), 10) for seed in range(2)]
    path.write_text(names * header + "".join(lines))
    reader = TsvFile(path)
    row = reader.read("x_1")
    np.testing.assert_array_equal(row.features, made_up(1)["features"])
    np.testing.assert_array_equal(row.scores, made_up(1)["scores"])
    assert row.labels.tolist() == [5, 0, 1599]
    assert row.size == SIZE
    assert reader.survey().labels


def test_a_header_may_have_any_order_and_more(tmp_path):
    fields = dict(zip(COLUMNS[6], tsv_line("a", made_up()).split("\t"), strict=True))
    fields = {name: fields[name].strip() for name in reversed(COLUMNS[6])} | {"cls_prob": "?"}
    (tmp_path / "a.tsv").write_text("\t".join(fields) + "\n" + "\t".join(fields.values()))
    np.testing.assert_array_equal(
        TsvFile(tmp_path / "a.tsv").read("a").features, made_up()["features"]
    )


def test_a_picture_without_objects(tmp_path):
    nothing = made_up(count=0)
    path = tmp_path / "a.tsv"
    path.write_text(tsv_line("a", nothing) + tsv_line("b", made_up()))
    assert TsvFile(path).read("a").boxes.shape == (0, 4)
    assert TsvFile(path).survey().width == 4


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda line: line.replace("\t", " ", 1), "5 columns and no header"),
        (lambda line: line + line[:9], "a.tsv:2: found 3 columns, expected 6"),
        (lambda line: line + line, "the picture 'a' is there twice"),
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
        TsvFile(path).read("a")
    assert said in str(error.value)


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(HamlearnError, match=r"a\.tsv: no such file"):
        TsvFile(tmp_path / "a.tsv")
