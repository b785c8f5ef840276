from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from hamlearn.io import digest_of_text
from hamlearn.report.findings import findings
from hamlearn.report.inputs import CorpusResults, read_results
from hamlearn.report.provenance import provenance_table
from hamlearn.report.tables import (
    ABSENT,
    Table,
    by_cue,
    by_type,
    corpus_table,
    headline,
    run_facts,
    unusable_pictures,
)
from tests.report.fabricated import CUES, SIZES, SYSTEMS, Made, make

SETTINGS_DIGEST = digest_of_text('{"backend":"torchvision","dtype":"float16"}')[:12]


def corpora(made: Made) -> list[CorpusResults]:
    return read_results(made.settings, made.metrics, made.root)


def texts(table: Table, name: str, note: str | None = None) -> list[str]:
    (row,) = [row for row in table.rows if row.name == name and note in (None, row.note)]
    return [cell.text for cell in row.cells]


def told(scores: pd.DataFrame, measure: str = "f1", **chosen: str) -> str:
    """Mean and deviation by hand, in percent."""
    values = [
        100 * row[measure]
        for row in scores.to_dict("records")
        if all(row[key] == value for key, value in chosen.items())
    ]
    mean = sum(values) / len(values)
    if len(values) == 1:
        return f"{mean:.2f}"
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return f"{mean:.2f} ± {variance**0.5:.2f}"


@pytest.mark.parametrize("split", ["dev", "test"])
@pytest.mark.parametrize("results", ["made", "several"])
def test_headline_is_the_csv(results: str, split: str, request: pytest.FixtureRequest) -> None:
    for corpus in corpora(request.getfixturevalue(results)):
        table = headline(corpus, split)
        assert table is not None
        assert len(table.rows) == len(corpus.scores.groupby(["detector", "variant"]))
        for row in table.rows:
            detector = "none" if row.note == "no pictures" else row.note
            micro = {"detector": detector, "variant": row.name, "split": split}
            micro |= {"type": "all", "cue": "all"}
            expected = [
                told(corpus.scores, measure, scheme=scheme, **micro)
                for scheme in ("lenient", "strict")
                for measure in ("precision", "recall", "f1")
            ]
            assert [cell.text for cell in row.cells] == expected
        assert f"n = {SIZES[split]} posts with {SIZES[split]} entities" in table.caption


def test_headline_says_over_how_many_seeds(made: Made, several: Made) -> None:
    assert "of one seed" in str(headline(corpora(made)[0], "test"))
    assert "standard deviation over 3 seeds" in str(headline(corpora(several)[0], "test"))


def test_split_without_scores_has_no_headline(made: Made) -> None:
    assert headline(corpora(made)[0], "train") is None


def test_cues_are_the_csv_with_the_ceiling(made: Made) -> None:
    (corpus,) = corpora(made)
    table = by_cue(corpus)
    assert table is not None
    assert table.columns == ("all", *sorted(CUES))
    for variant in SYSTEMS:
        (row,) = [row for row in table.rows if row.name == variant]
        for cue, cell in zip(table.columns, row.cells, strict=True):
            where = {"variant": variant, "split": "test", "type": "all", "cue": cue}
            assert cell.text == told(corpus.scores, scheme="lenient", **where)
            assert cell.below == told(corpus.scores, scheme="strict", **where)
    assert texts(table, "text ceiling") == ["66.67", "50.00", "50.00", "50.00", "100.00"]
    assert texts(table, "n") == ["60", "15", "15", "15", "15"]
    assert [row.kind for row in table.rows] == [*[""] * 5, "reference", "reference"]


def test_corpus_by_path_has_no_ceiling(several: Made) -> None:
    drawn, by_path = (by_cue(corpus) for corpus in corpora(several))
    assert drawn is not None
    assert by_path is not None
    assert "text ceiling" in [row.name for row in drawn.rows]
    assert "text ceiling" not in [row.name for row in by_path.rows]
    assert "eiling" not in by_path.caption


def test_types_are_the_csv_in_the_order_of_table_1(made: Made) -> None:
    (corpus,) = corpora(made)
    table = by_type(corpus)
    assert table is not None
    assert table.columns == ("PER", "LOC", "ORG", "MISC", "all")
    for variant in SYSTEMS:
        (row,) = [row for row in table.rows if row.name == variant]
        for type_, cell in zip(table.columns, row.cells, strict=True):
            where = {"variant": variant, "split": "test", "type": type_, "cue": "all"}
            assert cell.text == told(corpus.scores, scheme="lenient", **where)
    supports = texts(table, "n")
    assert sum(map(int, supports[:-1])) == int(supports[-1]) == 60


def test_type_that_a_run_never_met_is_absent(made: Made) -> None:
    (corpus,) = corpora(made)
    gone = (corpus.scores["variant"] == "full") & (corpus.scores["type"] == "LOC")
    table = by_type(replace(corpus, scores=corpus.scores[~gone]))
    assert table is not None
    assert texts(table, "full")[1] == ABSENT
    assert texts(table, "wo_vit")[1] != ABSENT


def test_corpus_without_cues_has_no_table_of_them(tmp_path: Path) -> None:
    (corpus,) = corpora(make(tmp_path, cues=False, variants=("full",)))
    assert by_cue(corpus) is None


def test_corpus_table_is_table_1(made: Made) -> None:
    (corpus,) = corpora(made)
    table = corpus_table(corpus)
    assert texts(table, "Tweets") == ["24", "12", "60", "96"]
    assert texts(table, "Total") == ["24", "12", "60", "96"]
    for split, column in (("train", 0), ("dev", 1), ("test", 2)):
        tags = [post.labels for post in corpus.posts if post.split == split]
        persons = sum(label == "B-PER" for labels in tags for label in labels)
        assert texts(table, "PER")[column] == str(persons)


def test_unusable_pictures_by_reason_and_split(several: Made) -> None:
    table = unusable_pictures(corpora(several)[0])
    assert table is not None
    assert [(row.name, row.note) for row in table.rows[:1]] == [
        ("missing", "the corpus has no picture of this name")
    ]
    assert texts(table, "missing") == ["0", "0", "4", "4"]
    assert texts(table, "undecodable") == ["1", "0", "0", "1"]
    assert texts(table, "too large") == ["0", "1", "0", "1"]
    assert texts(table, "all reasons") == ["1", "1", "4", "6"]
    assert texts(table, "posts") == ["24", "12", "60", "96"]


def test_rare_reasons_are_put_together(tmp_path: Path) -> None:
    failures = {f"test_{n}": ("undecodable", f"broken at byte {n}") for n in range(9)}
    failures["test_9"] = ("undecodable", "broken at byte 0")
    made = make(tmp_path, variants=("full",), failures=failures)
    table = unusable_pictures(corpora(made)[0])
    assert table is not None
    assert [cell.text for cell in table.rows[0].cells] == ["0", "0", "2", "2"]
    assert texts(table, "other reasons") == ["0", "0", "3", "3"]
    assert texts(table, "all reasons") == ["0", "0", "10", "10"]


def test_runs_that_look_at_no_picture_miss_none(tmp_path: Path) -> None:
    made = make(tmp_path, variants=("text_only",), failures={"test_1": ("missing", "gone")})
    (corpus,) = corpora(made)
    assert unusable_pictures(corpus) is None
    assert provenance_table(corpus) is None


def test_a_system_of_the_whole_picture_is_told_from_text_alone(tmp_path: Path) -> None:
    variants = ("full", "gvatt_bert_crf", "bilstm_crf", "text_only")
    made = make(tmp_path, variants=variants, failures={"test_1": ("missing", "gone")})
    (corpus,) = corpora(made)
    notes = {row.name: row.note for row in run_facts(corpus).rows}
    assert notes == dict(
        zip(variants, ("demo", "whole picture", "no pictures", "no pictures"), strict=True)
    )
    assert texts(run_facts(corpus), "bilstm_crf")[5] == "word vectors: random"
    told = {finding.subject for finding in findings(corpus)}
    assert "gvatt_bert_crf and the text ceiling" not in told
    assert "bilstm_crf and the text ceiling" in told
    (alone,) = corpora(make(tmp_path / "b", variants=variants[1:2], failures=made.failures))
    assert alone.detectors == []
    assert [post.image_id for post in alone.unusable] == ["test_1"]


def test_run_facts(made: Made) -> None:
    table = run_facts(corpora(made)[0])
    expected = ["0", "1,234,567", "7 of 8", "4.1", "dgl", "scratch", "32-true on cpu"]
    assert texts(table, "full") == expected
    assert texts(table, "wo_rgcn")[4] == ABSENT


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("Extractor", ["tiny", "tiny"]),
        ("Weights", ["images.safetensors", "objects.safetensors"]),
        ("Trained", ["yes", "yes"]),
        ("Weights digest", ["abcdef012345", "abcdef012345"]),
        ("Settings digest", [SETTINGS_DIGEST, SETTINGS_DIGEST]),
        ("Back-end", ["torchvision", "torchvision"]),
        ("Versions", ["python 3.11.9, torch 2.14.1"] * 2),
    ],
)
def test_provenance(made: Made, name: str, expected: list[str]) -> None:
    table = provenance_table(corpora(made)[0])
    assert table is not None
    assert table.columns == ("images", "objects: demo")
    assert texts(table, name) == expected


def test_provenance_of_two_detectors_is_told_apart(several: Made) -> None:
    table = provenance_table(corpora(several)[0])
    assert table is not None
    assert table.columns == ("images", "objects: demo", "objects: mask_rcnn")
    assert texts(table, "Trained") == ["no: random weights"] * 3
