import pytest

from hamlearn.errors import HamlearnError
from hamlearn.features.merge import merge
from tests.builders import write_object_features
from tests.features.test_store import IDS, write


def test_merged_shards_equal_one_file(tmp_path):
    shards = [
        write(tmp_path / f"{number}.h5", ids, regions=True)
        for number, ids in enumerate((IDS[3:], [], IDS[:1], IDS[1:3]))
    ]
    merge(shards, IDS, tmp_path / "merged.h5")
    whole = write(tmp_path / "whole.h5", regions=True)
    assert (tmp_path / "merged.h5").read_bytes() == whole.read_bytes()


def test_a_list_of_failures_holds_no_formulas_and_appears_with_the_features(tmp_path, monkeypatch):
    ids = ["=1+1", "-1"]
    shard = write(tmp_path / "shard.h5", ids, failed=ids)
    merge([shard], ids, tmp_path / "merged.h5", tmp_path / "failures.csv")
    lines = (tmp_path / "failures.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["image", "'=1+1", "-1"]
    before = (tmp_path / "merged.h5").read_bytes()
    monkeypatch.setattr("hamlearn.features.merge.escape_cell", lambda _: 1 / 0)
    again = write(tmp_path / "again.h5", ids[:1], failed=ids)
    with pytest.raises(ZeroDivisionError):
        merge([again], ids[:1], tmp_path / "merged.h5", tmp_path / "failures.csv")
    assert (tmp_path / "merged.h5").read_bytes() == before
    assert (tmp_path / "failures.csv").read_text().splitlines() == lines


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ([], "found no shards"),
        ([IDS[:2], IDS[3:]], "image ü is in 0 shards, expected 1"),
        ([IDS[:3], IDS[2:]], "image ü is in 2 shards, expected 1"),
    ],
)
def test_shards_that_do_not_make_the_corpus(tmp_path, parts, message):
    shards = [write(tmp_path / f"{number}.h5", ids) for number, ids in enumerate(parts)]
    with pytest.raises(HamlearnError, match=message):
        merge(shards, IDS, tmp_path / "merged.h5")
    assert not (tmp_path / "merged.h5").exists()


def test_a_shard_with_a_stray_image(tmp_path):
    with pytest.raises(HamlearnError, match="image e is in 1 shards, expected 0; the corpus has 4"):
        merge([write(tmp_path / "a.h5")], IDS[:4], tmp_path / "merged.h5")


def test_shards_of_a_detector_with_other_classes(tmp_path):
    first = write_object_features(tmp_path / "a.h5", IDS[:2], classes=["cat", "dog"])
    other = write_object_features(tmp_path / "b.h5", IDS[2:], classes=["cat", "bird"])
    message = (
        r"b\.h5: `classes` is \['cat', 'bird'\], but \['cat', 'dog'\] in .*a\.h5; expected shards"
    )
    with pytest.raises(HamlearnError, match=message):
        merge([first, other], IDS, tmp_path / "merged.h5")
    assert not (tmp_path / "merged.h5").exists()


def test_shards_made_in_other_ways(tmp_path):
    first = write(tmp_path / "a.h5", IDS[:2])
    other = write(tmp_path / "b.h5", IDS[2:], weights_digest="1" * 64)
    with pytest.raises(HamlearnError, match=r"b\.h5: `weights_digest` is '1"):
        merge([first, other], IDS, tmp_path / "merged.h5")
    third = write(tmp_path / "c.h5", IDS[2:], dtype="float16")
    with pytest.raises(HamlearnError, match=r"c\.h5: `columns` is"):
        merge([first, third], IDS, tmp_path / "merged.h5")
