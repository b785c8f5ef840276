import os
from pathlib import Path

import pytest

from hamlearn.corpus.conll import read_corpus
from hamlearn.corpus.editions import counts_of, differences, editions, nearest
from hamlearn.corpus.posts import CorpusPost
from hamlearn.corpus.statistics import PAPER_ORDER, corpus_statistics
from hamlearn.errors import HamlearnError

DATA = Path(os.environ.get("HAMLEARN_DATA", Path(__file__).parents[3] / "shared" / "data"))


def test_the_published_counts_add_up():
    known = editions()
    assert [edition.name for edition in known] == [
        "twitter2015, as in the paper's Table 1",
        "twitter2017, as in the paper's Table 1",
        "twitter2015, relabelled",
    ]
    for edition in known:
        for cells in edition.counts.values():
            assert cells["total"] == sum(cells[type_] for type_ in PAPER_ORDER)
    totals = [sum(cells["total"] for cells in one.counts.values()) for one in known[:2]]
    assert totals == [12800, 8724]  # as the paper's text says


@pytest.mark.parametrize(
    ("folder", "number"), [("twitter2015_original", 0), ("twitter2017", 1), ("twitter2015", 2)]
)
def test_the_texts_are_recognised(folder, number):
    if not (DATA / folder).is_dir():
        pytest.skip(f"no {folder} in {DATA}; set HAMLEARN_DATA to the folder that has it")
    counts = counts_of(corpus_statistics(read_corpus(DATA / folder)))
    assert nearest(counts, editions()) == (editions()[number], [])


def test_other_types_differ_from_every_edition():
    posts = [CorpusPost("1", "dev", "1", None, ("a", "b"), ("B-PROD", "B-PER"))]
    told = differences(counts_of(corpus_statistics(posts)), editions()[1])
    assert "dev PROD: 1, expected 0" in told
    assert "dev PER: 1, expected 626" in told
    assert "dev total: 2, expected 1324" in told


def test_an_incomplete_file_is_named(tmp_path):
    with pytest.raises(HamlearnError, match="no such file"):
        editions(tmp_path / "absent.yaml")
    (tmp_path / "a.yaml").write_text("table1: {source: x, mine: {train: {PER: 1}}}")
    with pytest.raises(HamlearnError, match=r"a\.yaml: table1\.mine: expected PER, LOC"):
        editions(tmp_path / "a.yaml")
