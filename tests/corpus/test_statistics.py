import os
from pathlib import Path

import pandas as pd
import pytest

from hamlearn.corpus.conll import read_corpus
from hamlearn.corpus.posts import SPLITS, CorpusPost
from hamlearn.corpus.statistics import (
    CELLS,
    PAPER_ORDER,
    corpus_statistics,
    editions,
    edits,
    is_near,
    nearest_edition,
    similar_types,
    statistics_text,
    table1_counts,
    write_statistics,
)

DATA = Path(os.environ.get("HAMLEARN_DATA", Path(__file__).parents[3] / "shared" / "data"))
TABLE_1 = {
    "twitter2015_original": """
        PER  2217 552 1816
        LOC  2091 522 1697
        ORG   928 247  839
        MISC  940 225  726
        all  6176 1546 5078
        posts 4000 1000 3257
    """,
    "twitter2017": """
        PER  2943 626 621
        LOC   731 173 178
        ORG  1674 375 395
        MISC  701 150 157
        all  6049 1324 1351
        posts 3373 723 723
    """,
}


def post(split, labels, picture=None):
    labels = tuple(labels.split(" "))
    return CorpusPost(
        id=f"{split} {labels}",
        split=split,
        image_id="1",
        image_path=picture,
        words=("w",) * len(labels),
        labels=labels,
    )


POSTS = [
    post("train", "B-PER I-PER O B-LOC", "1.jpg"),
    post("train", "I-PER I-PER O I-ZOO B-ORG"),
    post("dev", "O O O O O O", "1.jpg"),
    post("test", "B-PER B-PER I-LOC"),
]


def rows(statistics):
    return {
        (row["quantity"], row["type"]): [row[c] for c in ("train", "dev", "test", "total")]
        for row in statistics.to_dict("records")
    }


def test_counts_by_hand():
    assert rows(corpus_statistics(POSTS)) == {
        ("entities", "PER"): [1, 0, 2, 3],
        ("entities", "LOC"): [1, 0, 0, 1],
        ("entities", "ORG"): [1, 0, 0, 1],
        ("entities", "ZOO"): [0, 0, 0, 0],
        ("entities", "all"): [3, 0, 2, 5],
        ("posts", "all"): [2, 1, 1, 4],
        ("orphan_inside", "all"): [2, 0, 1, 3],
        ("longest_post", "all"): [5, 6, 3, 6],
        ("missing_pictures", "all"): [1, 0, 1, 2],
    }


def test_types_come_in_the_order_of_the_paper():
    types = corpus_statistics(POSTS).query("quantity == 'entities'")["type"]
    assert list(types) == ["PER", "LOC", "ORG", "ZOO", "all"]


def test_text_is_the_table_of_the_paper():
    assert statistics_text(corpus_statistics(POSTS)) == (
        "Ent Type              Train  Val  Test  All\n"
        "PER                       1    0     2    3\n"
        "LOC                       1    0     0    1\n"
        "ORG                       1    0     0    1\n"
        "ZOO                       0    0     0    0\n"
        "Total                     3    0     2    5\n"
        "Tweets                    2    1     1    4\n"
        "Orphan I- tags            2    0     1    3\n"
        "Longest post (words)      5    6     3    6\n"
        "Missing pictures          1    0     1    2\n"
    )


def test_csv_reads_back_equal(tmp_path):
    statistics = corpus_statistics(POSTS)
    write_statistics(tmp_path / "statistics.csv", statistics)
    pd.testing.assert_frame_equal(pd.read_csv(tmp_path / "statistics.csv"), statistics)


def test_a_type_is_no_formula(tmp_path):
    post = CorpusPost("1", "train", "1", None, ("x", "y"), ("B-=cmd", "B-\x1b[31m"))
    write_statistics(tmp_path / "statistics.csv", corpus_statistics([post]))
    lines = (tmp_path / "statistics.csv").read_text().splitlines()
    assert lines[1:3] == [r"entities,\x1b[31m,1,0,0,1", "entities,'=cmd,1,0,0,1"]


@pytest.mark.parametrize("corpus", TABLE_1)
def test_equals_table_1_of_the_paper_to_the_digit(corpus):
    folder = DATA / corpus
    if not folder.is_dir():
        pytest.skip(f"no {corpus} in {DATA}; set HAMLEARN_DATA to the folder that has it")
    counted = rows(corpus_statistics(read_corpus(folder)))
    for line in TABLE_1[corpus].strip().splitlines():
        name, *numbers = line.split()
        key = ("posts", "all") if name == "posts" else ("entities", name)
        assert counted[key][:3] == [int(number) for number in numbers], name


def test_the_published_counts_add_up():
    known = editions()
    assert [edition.name for edition in known] == [
        "twitter2015, as in the paper's Table 1",
        "twitter2017, as in the paper's Table 1",
        "twitter2015, relabelled",
    ]
    for edition in known:
        assert set(edition.counts) == set(SPLITS)
        for cells in edition.counts.values():
            assert set(cells) == set(CELLS)
            assert cells["total"] == sum(cells[type_] for type_ in PAPER_ORDER)
    totals = [sum(cells["total"] for cells in one.counts.values()) for one in known[:2]]
    assert totals == [12800, 8724]  # as the paper's text says


@pytest.mark.parametrize(
    ("folder", "number"), [("twitter2015_original", 0), ("twitter2017", 1), ("twitter2015", 2)]
)
def test_the_texts_are_recognised(folder, number):
    if not (DATA / folder).is_dir():
        pytest.skip(f"no {folder} in {DATA}; set HAMLEARN_DATA to the folder that has it")
    counts = table1_counts(corpus_statistics(read_corpus(DATA / folder)))
    assert nearest_edition(counts, editions()) == (editions()[number], [])


def test_other_types_differ_from_every_edition():
    posts = [CorpusPost("1", "dev", "1", None, ("a", "b"), ("B-PROD", "B-PER"))]
    told = nearest_edition(table1_counts(corpus_statistics(posts)), editions()[1:2])[1]
    assert "dev PROD: 1, expected 0" in told
    assert "dev PER: 1, expected 626" in told
    assert "dev total: 2, expected 1324" in told


@pytest.mark.parametrize(
    ("first", "second", "count"),
    [("per", "per", 0), ("per", "pers", 1), ("", "ab", 2), ("loc", "lco", 2), ("org", "misc", 4)],
)
def test_edits(first, second, count):
    assert edits(first, second) == edits(second, first) == count


def test_a_rare_type_that_is_nearly_another_is_described():
    labels = {"PER": 9, "PRE": 4, "Org": 1, "ORG": 9, "PERSON": 3, "LOCATION": 5, "LOCATON": 5}
    labels |= {"X": 1, "Y": 9, "LOCASION": 1}
    posts = [post("train", " ".join([f"B-{name}"] * count)) for name, count in labels.items()]
    assert similar_types(corpus_statistics(posts)) == [
        "type 'LOCASION' of 1 entities is nearly 'LOCATION' of 5: is its label mistyped?",
        "type 'Org' of 1 entities is nearly 'ORG' of 9: is its label mistyped?",
        "type 'PRE' of 4 entities is nearly 'PER' of 9: is its label mistyped?",
    ]
    assert similar_types(corpus_statistics([post("train", "B-PER B-ORG B-O B-P")])) == []


def test_a_corpus_is_near_an_edition_if_it_is_a_copy_with_faults():
    known = editions()[0]
    counts = {split: dict(cells) for split, cells in known.counts.items()}
    assert is_near(counts, known)
    cut = {**counts, "train": dict.fromkeys(CELLS, 0)}  # a file of nothing, the others whole
    assert is_near(cut, known)
    fewer = {
        split: {cell: 95 * n // 100 for cell, n in own.items()} for split, own in counts.items()
    }
    assert is_near(fewer, known)
    other = {split: {cell: n // 2 for cell, n in own.items()} for split, own in counts.items()}
    assert not is_near(other, known)
