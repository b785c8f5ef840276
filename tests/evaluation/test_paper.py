import pandas as pd
import pytest

from hamlearn.errors import HamlearnError
from hamlearn.evaluation.evaluate import COLUMNS as SCORES
from hamlearn.evaluation.paper import (
    Experiments,
    Line,
    lines_of,
    scores_table,
    statistics_table,
)
from hamlearn.evaluation.paper_files import as_markdown, write_table
from hamlearn.systems import transfer_name

ASKED = Experiments(
    variants=["full", "wo_rm", "umt", "text_only"],
    detectors=["faster_rcnn", "mask_rcnn"],
    rounds=[1, 3],
    chosen_rounds=3,
    transfer=["full"],
)


def score_rows(corpus, detector, variant, f1_by_seed, types=("all", "PER")):
    rows = []
    for seed, f1 in enumerate(f1_by_seed):
        for split in ("dev", "test"):
            for scheme in ("lenient", "strict"):
                for type_ in types:
                    value = f1 - 0.1 * (scheme == "strict") - 0.2 * (split == "dev")
                    value -= 0.05 * (type_ == "PER")
                    row = (corpus, detector, variant, seed, split, scheme, type_, "all")
                    rows.append((*row, value + 0.01, value - 0.01, value, 10, 11))
                    rows.append((*row[:-1], "scene", 0.0, 0.0, 0.0, 10, 11))
    return rows


def frame_of(*rows):
    return pd.DataFrame([row for some in rows for row in some], columns=list(SCORES))


def cell(table, row, corpus, measure, scheme="lenient"):
    chosen = table.query(
        "row == @row and corpus == @corpus and measure == @measure and scheme == @scheme"
    )
    assert len(chosen) == 1
    return chosen.iloc[0]


def test_ours_stand_beside_the_papers_with_the_difference():
    scores = frame_of(
        score_rows("twitter2015", "faster_rcnn", "full", [0.76, 0.77, 0.75]),
        score_rows("twitter2015", "mask_rcnn", "full", [0.10, 0.10, 0.10]),
        score_rows("twitter2015", "none", "text_only", [0.70]),
    )
    table = scores_table("table2", lines_of("table2", ASKED), scores, ASKED)
    ours = cell(table, "HamLearning", "twitter2015", "F1")
    assert (ours["seeds"], ours["detector"]) == (3, "faster_rcnn")
    assert ours["mean"] == pytest.approx(76.0)
    assert ours["sd"] == pytest.approx(1.0)
    assert ours["published"] == 76.49
    assert ours["difference"] == pytest.approx(-0.49)
    assert cell(table, "HamLearning", "twitter2015", "P")["mean"] == pytest.approx(77.0)
    assert cell(table, "HamLearning", "twitter2015", "PER")["mean"] == pytest.approx(71.0)
    strict = cell(table, "HamLearning", "twitter2015", "F1", "strict")
    assert strict["mean"] == pytest.approx(66.0)
    assert pd.isna(strict["published"])
    gei = cell(table, "GEI", "twitter2015", "F1")
    assert (gei["seeds"], gei["published"]) == (0, 74.43)
    assert pd.isna(gei["mean"])
    alone = cell(table, "text_only", "twitter2015", "F1")
    assert (alone["mean"], alone["detector"]) == (pytest.approx(70.0), "none")
    assert pd.isna(alone["sd"])
    assert "w/o RM" not in set(table["row"])


def test_a_corpus_that_the_paper_does_not_have_gets_none_of_its_numbers():
    scores = frame_of(score_rows("demo2015", "faster_rcnn", "full", [0.9]))
    table = scores_table("table2", lines_of("table2", ASKED), scores, ASKED)
    assert table["published"].isna().all()
    assert set(table["row"]) == {"HamLearning"}


def test_each_table_has_the_rows_that_were_asked_for():
    assert [(line.label, line.variant) for line in lines_of("table3", ASKED)] == [
        ("HamLearning", "full"),
        ("w/o RM", "wo_rm"),
    ]
    assert [(line.label, line.variant) for line in lines_of("table4", ASKED)] == [
        ("L = 1", "full-L1"),
        ("L = 3", "full"),
    ]
    assert [(line.label, line.variant) for line in lines_of("table5", ASKED)] == [
        ("HamLearning", "full")
    ]
    assert [(line.detector, line.variant) for line in lines_of("table6", ASKED)] == [
        ("faster_rcnn", "full"),
        ("mask_rcnn", "full"),
    ]
    assert lines_of("table4", ASKED)[0].published["twitter2015"]["F1"] == 75.23
    assert lines_of("table6", ASKED)[1].published["twitter2017"]["F1"] == 86.73
    with pytest.raises(HamlearnError, match="table7"):
        lines_of("table7", ASKED)


def test_detectors_and_directions_are_told_apart():
    scores = frame_of(
        score_rows("twitter2015", "faster_rcnn", "full", [0.76]),
        score_rows("twitter2015", "mask_rcnn", "full", [0.70]),
    )
    table = scores_table("table6", lines_of("table6", ASKED), scores, ASKED)
    assert cell(table, "mask_rcnn", "twitter2015", "F1")["mean"] == pytest.approx(70.0)
    there = transfer_name("twitter2017", "twitter2015")
    scores = frame_of(score_rows(there, "faster_rcnn", "full", [0.66]))
    table = scores_table("table5", lines_of("table5", ASKED), scores, ASKED)
    assert cell(table, "HamLearning", there, "F1")["published"] == 67.98


def test_table_1_counts_and_compares():
    counted = pd.DataFrame(
        [
            ("entities", "PER", 2217, 552, 1816, 4585),
            ("entities", "all", 6170, 1546, 5078, 12794),
            ("posts", "all", 4000, 1000, 3257, 8257),
            ("orphan_inside", "all", 187, 54, 137, 378),
        ],
        columns=["quantity", "type", "train", "dev", "test", "total"],
    )
    printed = {"twitter2015": {"train": {"PER": 2217, "total": 6176, "tweets": 4000}}}
    table = statistics_table({"twitter2015": counted}, printed)
    assert list(dict.fromkeys(table["row"])) == ["PER", "total", "tweets"]
    assert cell(table, "total", "twitter2015", "train", "")["difference"] == -6
    assert cell(table, "PER", "twitter2015", "train", "")["difference"] == 0
    assert "| total | ours | 6170 | 1546 | 5078 |" in as_markdown(table)


def test_markdown_reads_as_it_should(tmp_path):
    scores = frame_of(score_rows("twitter2015", "faster_rcnn", "full", [0.76, 0.77]))
    lines = [Line("a|b", "full", "", {"twitter2015": {"F1": 77.0}})]
    table = scores_table("table3", lines, scores, ASKED)
    write_table(table, tmp_path / "t.csv", tmp_path / "t.md")
    text = (tmp_path / "t.md").read_text()
    assert text.splitlines()[0] == "# Table 3: ablations"
    assert "| a\\|b | ours, lenient, 2 seeds | 77.50 ± 0.71 | 75.50 ± 0.71 | 76.50 ± 0.71 |" in text
    assert "|  | paper | – | – | 77.00 |" in text  # noqa: RUF001
    assert "|  | difference | – | – | −0.50 |" in text  # noqa: RUF001
    read = pd.read_csv(tmp_path / "t.csv")
    assert read.query("measure == 'F1' and scheme == 'lenient'")["difference"].item() == -0.5


def test_markdown_of_nothing_says_so():
    empty = scores_table("table4", [], frame_of(score_rows("a", "b", "full", [0.1])), ASKED)
    assert "Nothing was run" in as_markdown(empty)
