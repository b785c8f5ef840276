import re

import pandas as pd
import pytest
import yaml

from hamlearn.errors import HamlearnError
from hamlearn.evaluation.evaluate import COLUMNS as SCORES
from hamlearn.evaluation.paper import (
    PUBLISHED,
    Line,
    as_readable,
    lines_of,
    published_tables,
    scores_table,
    statistics_table,
)
from hamlearn.evaluation.tables import write_table
from hamlearn.settings import ScratchSettings, Settings, load_settings
from hamlearn.systems import SYSTEMS, transfer_name
from tests.workflow.project import ROOT

SETTINGS = Settings.model_validate(
    {
        "variants": ["full", "wo_rm", "umt", "text_only"],
        "detector": ["faster_rcnn"],
        "backbone": "resnet152",
        "text": {"encoder": "scratch", "scratch": {"layers": 12, "width": 768, "heads": 12}},
        "model": {"rounds": 3},
        "experiments": {"rounds": [1, 3], "transfer": ["full"], "detectors": ["mask_rcnn"]},
    }
)


def score_rows(corpus, detector, variant, f1_by_seed, types=("all", "PER")):
    rows = []
    for seed, f1 in enumerate(f1_by_seed):
        for split in ("dev", "test"):
            for scheme in ("lenient", "strict"):
                for type_ in types:
                    value = f1 - 0.1 * (scheme == "strict") - 0.2 * (split == "dev")
                    value -= 0.05 * (type_ == "PER")
                    row = (corpus, detector, variant, seed, "none", split, scheme, type_)
                    rows.append((*row, "all", "all", value + 0.01, value - 0.01, value, 10, 11, 0))
                    for other in (("scene", "all"), ("all", "yes")):
                        rows.append((*row, *other, 0.0, 0.0, 0.0, 10, 11, 0))
                    removed = (*row[:4], "removed", *row[5:])
                    rows.append((*removed, "all", "all", 0.0, 0.0, 0.0, 10, 11, 0))
    return rows


def frame_of(*rows):
    return pd.DataFrame([row for some in rows for row in some], columns=list(SCORES))


def cell(table, row, corpus, measure, scheme="lenient"):
    chosen = table.query(
        "row == @row and corpus == @corpus and measure == @measure and scheme == @scheme"
    )
    assert len(chosen) == 1
    return chosen.iloc[0]


def test_ours_are_compared_with_the_papers():
    scores = frame_of(
        score_rows("twitter2015", "faster_rcnn", "full", [0.76, 0.77, 0.75]),
        score_rows("twitter2015", "mask_rcnn", "full", [0.10, 0.10, 0.10]),
        score_rows("twitter2015", "none", "text_only", [0.70]),
    )
    table = scores_table("table2", lines_of("table2", SETTINGS), scores, SETTINGS)
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


def test_what_differs_is_noted_and_what_cannot_be_compared_is_not():
    small = SETTINGS.model_copy(
        update={"text": SETTINGS.text.model_copy(update={"scratch": ScratchSettings()})}
    )
    scores = frame_of(
        score_rows("twitter2015", "faster_rcnn", "full", [0.76]),
        score_rows("twitter2015", "none", "umt", [0.72]),
    )
    table = scores_table("table2", lines_of("table2", small), scores, small)
    reason = "the text encoder has 2 layers of width 96, the published one 12 layers of width 768"
    for row in ("HamLearning", "UMT"):
        ours = cell(table, row, "twitter2015", "F1")
        assert pd.isna(ours["difference"])
        assert ours["incomparable"] == reason
    assert cell(table, "GEI", "twitter2015", "F1")[["differs", "incomparable"]].tolist() == ["", ""]
    text = as_readable(table).markdown()
    assert "| HamLearning<sup>1</sup> | ours, lenient |" in text
    assert f"1. Not compared with the paper's number: {reason}." in text.splitlines()
    assert "| difference" not in text
    common = "2. In all compared systems, whatever their authors did: words are labelled, each by"
    assert any(line.startswith(common) for line in text.splitlines())
    alone = table[table["variant"] == "full"]
    assert "In all compared systems" not in as_readable(alone).markdown()
    told = Line("A|b", "umt", "", {"twitter2015": {"F1": 77.0}}, "one; two")
    text = as_readable(scores_table("table3", [told], scores, small)).markdown()
    assert "| A\\|b<sup>1</sup> | ours" in text
    assert "1. A\\|b differs from its authors' system: one; two." in text.splitlines()
    assert "| difference | – | – | −5.00 |" in text.replace("|  |", "|")  # noqa: RUF001


def test_later_systems_stand_in_table_2_where_ours_are_trained():
    modern = load_settings(ROOT / "config" / "modern.yaml")
    later = [row.keys.get("variant") for row in published_tables()["modern"]]
    assert {name for name in later if name} == set(modern.systems)
    labels = {line.label: line for line in lines_of("table2", modern)}
    assert {"BERT-CRF", "HamLearning", "XLM-R large", "PGIM", "MoRe-Image"} <= set(labels)
    assert not {"PGIM", "MoRe-Image"} & {line.label for line in lines_of("table2", SETTINGS)}
    size = {"encoder": "scratch", "scratch": {"layers": 24, "width": 1024, "heads": 16}}
    same = modern.model_copy(update={"text": modern.text.model_validate(size)})
    scores = frame_of(*(score_rows(name, "none", "knowledge_large", [0.8]) for name in same.corpus))
    table = scores_table("table2", lines_of("table2", same), scores, same)
    there = cell(table, "PGIM", "twitter2017", "F1")
    assert (there["published"], there["incomparable"]) == (91.43, "")
    assert there["difference"] == pytest.approx(-11.43)
    here = cell(table, "PGIM", "twitter2015", "F1")
    assert (here["published"], here["incomparable"]) == (79.33, "it is of the relabelled text")
    assert pd.isna(here["difference"])


def test_a_corpus_that_the_paper_does_not_have_gets_none_of_its_numbers():
    scores = frame_of(score_rows("demo2015", "faster_rcnn", "full", [0.9]))
    table = scores_table("table2", lines_of("table2", SETTINGS), scores, SETTINGS)
    assert table["published"].isna().all()
    assert set(table["row"]) == {"HamLearning"}
    assert not table["incomparable"].any()


def test_each_table_has_the_requested_rows():
    assert [(line.label, line.variant) for line in lines_of("table3", SETTINGS)] == [
        ("HamLearning", "full"),
        ("w/o RM", "wo_rm"),
    ]
    assert [(line.label, line.variant) for line in lines_of("table4", SETTINGS)] == [
        ("L = 1", "full-L1"),
        ("L = 3", "full"),
    ]
    assert [(line.label, line.variant) for line in lines_of("table5", SETTINGS)] == [
        ("HamLearning", "full")
    ]
    assert [(line.detector, line.variant) for line in lines_of("table6", SETTINGS)] == [
        ("faster_rcnn", "full"),
        ("mask_rcnn", "full"),
    ]
    assert lines_of("table4", SETTINGS)[0].published["twitter2015"]["F1"] == 75.23
    assert lines_of("table6", SETTINGS)[1].published["twitter2017"]["F1"] == 86.73
    with pytest.raises(HamlearnError, match="table7"):
        lines_of("table7", SETTINGS)


def test_detectors_and_directions_are_kept_apart():
    scores = frame_of(
        score_rows("twitter2015", "faster_rcnn", "full", [0.76]),
        score_rows("twitter2015", "mask_rcnn", "full", [0.70]),
    )
    table = scores_table("table6", lines_of("table6", SETTINGS), scores, SETTINGS)
    assert cell(table, "mask_rcnn", "twitter2015", "F1")["mean"] == pytest.approx(70.0)
    there = transfer_name("twitter2017", "twitter2015")
    scores = frame_of(score_rows(there, "faster_rcnn", "full", [0.66]))
    table = scores_table("table5", lines_of("table5", SETTINGS), scores, SETTINGS)
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
    assert "| total | ours | 6170 | 1546 | 5078 |" in as_readable(table).markdown()


def test_markdown_layout(tmp_path):
    scores = frame_of(score_rows("twitter2015", "faster_rcnn", "full", [0.76, 0.77]))
    lines = [Line("a|b", "full", "", {"twitter2015": {"F1": 77.0}})]
    table = scores_table("table3", lines, scores, SETTINGS)
    write_table(tmp_path / "t.csv", table, decimals=4)
    text = as_readable(table).markdown()
    assert text.splitlines()[0] == "# Table 3: ablations"
    assert "| a\\|b | ours, lenient, 2 seeds | 77.50 ± 0.71 | 75.50 ± 0.71 | 76.50 ± 0.71 |" in text
    assert "|  | paper | – | – | 77.00 |" in text  # noqa: RUF001
    assert "|  | difference | – | – | −0.50 |" in text  # noqa: RUF001
    read = pd.read_csv(tmp_path / "t.csv")
    assert read.query("measure == 'F1' and scheme == 'lenient'")["difference"].item() == -0.5


def test_markdown_of_others_is_no_markup():
    hostile = "|p|<b>`x`\x1b\n"
    scores = frame_of(score_rows(hostile, "faster_rcnn", "full", [0.76], ("all", hostile)))
    text = as_readable(scores_table("table2", [Line("full", "full")], scores, SETTINGS)).markdown()
    safe = r"\|p\|&lt;b&gt;\`x\`\\x1b"
    assert f"## {safe}" in text
    assert f"|  |  | {safe} | " in text
    assert "\x1b" not in text
    bars = {len(re.findall(r"(?<!\\)\|", line)) for line in text.splitlines()}
    assert bars == {0, 7}


def test_markdown_of_nothing_says_so():
    empty = scores_table("table4", [], frame_of(score_rows("a", "b", "full", [0.1])), SETTINGS)
    assert "Nothing was run" in as_readable(empty).markdown()


# Rows that the paper prints with an F1 that its own P and R do not give.
MISPRINTED = {
    ("table2", "AdaCAN-BERT-CRF", "twitter2017"): 84.15,
    ("table2", "MAF", "twitter2015"): 73.44,
    ("table5", "UMGF", "twitter2017_to_twitter2015"): 64.84,
}


def test_printed_f1_is_that_of_printed_p_and_r_but_where_it_is_said():
    wrong = {}
    for name, table in published_tables().items():
        for row in table:
            for corpus, scores in row.scores.items():
                assert all(0 < value < 100 for value in scores.values())
                if "P" not in scores:
                    continue
                p, r = scores["P"], scores["R"]
                if abs(2 * p * r / (p + r) - scores["F1"]) > 0.011:
                    key = (name, row.keys.get("method"), corpus)
                    wrong[key] = round(2 * p * r / (p + r), 2)
    assert wrong == MISPRINTED
    printed = yaml.safe_load(PUBLISHED.read_text())
    sources = " ".join(printed[name]["source"] for name in published_tables())
    assert all(f"{value:.2f}" in sources for value in MISPRINTED.values())


def test_tables_are_as_large_as_the_papers_and_agree_on_the_model():
    tables = published_tables()
    assert {name: len(rows) for name, rows in tables.items()} == {
        "table2": 18,
        "table3": 4,
        "table4": 5,
        "table5": 3,
        "table6": 2,
        "modern": 5,
    }
    full = {
        name: [{key: scores[key] for key in ("P", "R", "F1")} for scores in row.scores.values()]
        for name, row in {
            "table2": tables["table2"][-1],
            "table3": tables["table3"][0],
            "table4": tables["table4"][2],
            "table6": tables["table6"][0],
        }.items()
    }
    assert all(scores == full["table2"] for scores in full.values())


def test_ita_gives_no_precision_and_hvpnet_no_types():
    rows = {row.keys["method"]: row for row in published_tables()["table2"]}
    assert set(rows["ITA"].scores["twitter2015"]) == {"PER", "LOC", "ORG", "MISC", "F1"}
    assert set(rows["HVPNeT"].scores["twitter2017"]) == {"P", "R", "F1"}
    assert {row.keys["variant"] for row in rows.values()} <= set(SYSTEMS)
