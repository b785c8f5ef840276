from pathlib import Path

import pandas as pd
import pytest

from hamlearn.errors import HamlearnError
from hamlearn.evaluation.compare import COLUMNS as PAIR_COLUMNS
from hamlearn.evaluation.paper import COLUMNS
from hamlearn.report.paper_tables import paper_tables
from hamlearn.settings import Settings

ASKED = Settings.model_validate({"experiments": {"tables": ["table3"]}})


def write(results: Path, published: float | None) -> None:
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
        ),
        ("table3", "HamLearning", "full", "demo", "t", "strict", "F1", 3, 70.0, 0.5, None, None),
        ("table3", "w/o RM", "", "", "t", "lenient", "F1", 0, None, None, 74.61, None),
    ]
    folder = results / "report" / "tables"
    folder.mkdir(parents=True)
    kept = rows if published is not None else rows[:2]
    pd.DataFrame(kept, columns=list(COLUMNS)).to_csv(folder / "table3.csv", index=False)
    pair = ("t", "demo", "full", "none", "bert", 3, 1200, 76.0, 75.0, -1.0, -2.5, 0.25, 0.0004)
    pd.DataFrame([pair], columns=list(PAIR_COLUMNS)).to_csv(folder / "pairs.csv", index=False)


def test_ours_stand_above_the_papers(tmp_path: Path) -> None:
    write(tmp_path, 76.49)
    (table,), pairs = paper_tables(ASKED, tmp_path)
    assert "t: percent on test" in table.caption
    assert "in small print what the paper prints" in table.caption
    ours, theirs = table.rows
    assert (ours.name, ours.note, ours.kind) == ("HamLearning", "3 seeds", "")
    assert (ours.cells[0].text, ours.cells[0].below) == ("76.00 ± 0.50", "76.49, −0.49")  # noqa: RUF001
    assert (theirs.note, theirs.kind, theirs.cells[0].below) == (
        "published only",
        "reference",
        "74.61",
    )
    assert list(pairs) == ["t"]
    (pair,) = pairs["t"].rows
    assert (pair.name, pair.note) == ("bert against full", "demo")
    assert [cell.text for cell in pair.cells] == [
        "−1.00",  # noqa: RUF001
        "−2.50 to +0.25",  # noqa: RUF001
        "< 0.001",
        "3",
        "1,200",
    ]


def test_of_another_corpus_the_paper_prints_nothing(tmp_path: Path) -> None:
    write(tmp_path, None)
    (table,), _ = paper_tables(ASKED, tmp_path)
    assert "the paper prints" not in table.caption
    assert [row.cells[0].below for row in table.rows] == [""]


def test_no_table_is_asked_for_by_default(tmp_path: Path) -> None:
    assert paper_tables(Settings(), tmp_path) is None


def test_a_table_that_is_absent_or_another_is_named(tmp_path: Path) -> None:
    with pytest.raises(HamlearnError, match=r"table3.csv: no such file"):
        paper_tables(ASKED, tmp_path)
    write(tmp_path, 76.49)
    (tmp_path / "report/tables/pairs.csv").write_text("a,b\n1,2\n")
    with pytest.raises(HamlearnError, match=r"pairs.csv: expected the columns corpus, detector"):
        paper_tables(ASKED, tmp_path)
