from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from hamlearn.corpus.labels import entities
from hamlearn.errors import HamlearnError
from hamlearn.evaluation.compare import COLUMNS as PAIR_COLUMNS
from hamlearn.evaluation.evaluate import Prediction
from hamlearn.evaluation.paper import COLUMNS
from hamlearn.evaluation.scores import score
from hamlearn.report.inputs import CorpusResults, read_results
from hamlearn.report.provenance import corpus_table
from hamlearn.report.tables import (
    ABSENT,
    Table,
    by_cue,
    by_type,
    confusion_table,
    headline,
    pair_tables,
    paper_tables,
    signed,
)
from hamlearn.settings import Settings
from tests.report.fabricated import CUES, SIZES, SYSTEMS, TYPES, Made, make

REQUESTED = Settings.model_validate({"experiments": {"tables": ["table3"]}})


def corpora(made: Made) -> list[CorpusResults]:
    return read_results(made.settings, made.metrics, made.root)


def texts(table: Table, name: str, note: str | None = None) -> list[str]:
    (row,) = [row for row in table.rows if row.name == name and note in (None, row.note)]
    return [cell.text for cell in row.cells]


def expected_text(scores: pd.DataFrame, measure: str = "f1", **chosen: str) -> str:
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
                expected_text(corpus.scores, measure, scheme=scheme, **micro)
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
            assert cell.text == expected_text(corpus.scores, scheme="lenient", **where)
            assert cell.below == expected_text(corpus.scores, scheme="strict", **where)
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
            assert cell.text == expected_text(corpus.scores, scheme="lenient", **where)
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


def numbers(table, name: str) -> list[int]:
    (row,) = [row for row in table.rows if row.name == name]
    return [int(cell.text.replace(",", "")) for cell in row.cells if cell.text]


def test_confusions_add_up_to_gold_and_to_predictions(made: Made) -> None:
    (corpus,) = corpora(made)
    run = corpus.runs_of("none", "text_only")[0]
    table = confusion_table(corpus, run)
    assert table is not None
    assert table.columns == (*sorted(TYPES), "missed")
    gold = [e.type for post in corpus.test for e in entities(post.labels)]
    found = [e.type for labels in run.labels for e in entities(labels)]
    for name in TYPES:
        assert sum(numbers(table, name)) == gold.count(name)
    for at, name in enumerate(sorted(TYPES)):
        column = [numbers(table, row)[at] for row in (*sorted(TYPES), "no entity")]
        assert sum(column) == found.count(name)
    micro = score([post.labels for post in corpus.test], run.labels).micro
    diagonal = sum(numbers(table, name)[at] for at, name in enumerate(sorted(TYPES)))
    assert diagonal == micro.correct


def test_a_corpus_without_entities_has_no_confusions(made: Made) -> None:
    (corpus,) = corpora(made)
    none = [("O",) * len(post.words) for post in corpus.test]
    posts = [replace(post, labels=("O",) * len(post.words)) for post in corpus.posts]
    run = replace(corpus.runs[0], predictions=list(map(Prediction, none)))
    assert confusion_table(replace(corpus, scored=posts), run) is None


def test_types_in_any_script_that_look_like_numbers_or_nothing(tmp_path: Path) -> None:
    types = ("NA", "01", "疾病", "creative-work", "null")
    made = make(tmp_path, corpora={"mine": False}, variants=("text_only",), types=types)
    (corpus,) = corpora(made)
    assert [row.name for row in corpus_table(corpus).rows][:5] == sorted(types)
    assert by_type(corpus).columns == (*sorted(types), "all")


def test_signed():
    assert [signed(x) for x in (1.5, -2.25, -0.004, 0.0)] == ["+1.50", "−2.25", "0.00", "0.00"]  # noqa: RUF001


def write_csv(results: Path, published: float | None) -> None:
    """Write Table 3 with one row of three seeds, and one pair."""
    gap = None if published is None else 76.0 - published
    rows = [
        (
            "table3",
            "HamLearning",
            "full",
            "demo",
            "t",
            "lenient",
            "F1",
            3,
            76.0,
            0.5,
            published,
            gap,
            "two layers",
            "",
        ),
        ("table3", "HamLearning", "full", "demo", "t", "strict", "F1", 3, 70.0, 0.5, *[None] * 4),
        ("table3", "w/o RM", "", "", "t", "lenient", "F1", 0, None, None, 74.61, *[None] * 3),
    ]
    folder = results / "report" / "tables"
    folder.mkdir(parents=True)
    kept = rows if published is not None else rows[:2]
    pd.DataFrame(kept, columns=list(COLUMNS)).to_csv(folder / "table3.csv", index=False)
    pair = ("t", "demo", "full", "none", "bert")
    seen = [
        (*pair, group, 3, 1200, 76.0, 75.0, -1.0, -2.5, 0.25, 0.0004) for group in ("all", "no")
    ]
    one = ("t", "demo", "full", "none", "ita", "all", 1, 1200, 76.0, 75.5, -0.5, -2, 1, None)
    every = pd.DataFrame([one, *seen], columns=list(PAIR_COLUMNS))
    every.to_csv(folder / "pairs.csv", index=False)


def test_ours_stand_above_the_papers(tmp_path: Path) -> None:
    write_csv(tmp_path, 76.49)
    (table,), pairs = paper_tables(REQUESTED, tmp_path), pair_tables(REQUESTED, tmp_path)
    assert "t: percent on test" in table.caption
    assert "in small print the paper's number" in table.caption
    ours, theirs = table.rows
    assert (ours.name, ours.note, ours.kind) == ("HamLearning", "3 seeds [1]", "")
    assert table.notes == ("HamLearning differs from its authors' system: two layers.",)
    assert (ours.cells[0].text, ours.cells[0].below) == ("76.00 ± 0.50", "76.49, −0.49")  # noqa: RUF001
    assert (theirs.note, theirs.kind, theirs.cells[0].below) == (
        "published only",
        "reference",
        "74.61",
    )
    assert list(pairs) == ["t"]
    pair, of_one_seed = pairs["t"].rows
    assert [cell.text for cell in of_one_seed.cells][2:4] == [ABSENT, "1"]
    assert (pair.name, pair.note) == ("bert against full", "demo")
    assert [cell.text for cell in pair.cells] == [
        "−1.00",  # noqa: RUF001
        "−2.50 to +0.25",  # noqa: RUF001
        "< 0.001",
        "3",
        "1,200",
    ]


def test_of_another_corpus_the_paper_prints_nothing(tmp_path: Path) -> None:
    write_csv(tmp_path, None)
    (table,) = paper_tables(REQUESTED, tmp_path)
    assert "the paper's number" not in table.caption
    assert [row.cells[0].below for row in table.rows] == [""]


def test_no_table_is_requested_by_default(tmp_path: Path) -> None:
    assert paper_tables(Settings(), tmp_path) == []
    assert pair_tables(Settings(), tmp_path) == {}


def test_a_missing_or_malformed_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(HamlearnError, match=r"table3.csv: no such file"):
        paper_tables(REQUESTED, tmp_path)
    write_csv(tmp_path, 76.49)
    (tmp_path / "report/tables/pairs.csv").write_text("a,b\n1,2\n")
    with pytest.raises(HamlearnError, match=r"pairs.csv: found columns a, b; expected corpus"):
        pair_tables(REQUESTED, tmp_path)
