import pandas as pd
import pytest

from hamlearn.errors import HamlearnError
from hamlearn.evaluation.tables import read_table, write_table


def test_names_stay_names_and_empty_numbers_are_missing(tmp_path):
    path = tmp_path / "a.csv"
    table = pd.DataFrame({"type": ["NA", "01", ""], "f1": [0.5, None, 1 / 3], "n": [1, 2, 3]})
    write_table(path, table, decimals=4)
    assert path.read_text() == "type,f1,n\nNA,0.5000,1\n01,,2\n,0.3333,3\n"
    read = read_table(path, ["f1", "type"], text=["type"])
    assert list(read.columns) == ["f1", "type"]
    assert read["type"].tolist() == ["NA", "01", ""]
    assert read["f1"].isna().tolist() == [False, True, False]
    assert read["f1"].sum() == pytest.approx(0.8333)


def test_texts_of_others_are_no_formulas_and_numbers_are_as_they_are(tmp_path):
    names = ["=cmd|'!A0", "@SUM(1+1)", "-", "\x1b[31mred", "'=1", "-0.5", 'a,b"c', "NA"]
    table = pd.DataFrame({"type": names, "f1": -0.5, "row": pd.Series([None] * 8, dtype=object)})
    write_table(tmp_path / "a.csv", table, decimals=1)
    assert (tmp_path / "a.csv").read_text().splitlines()[1:7] == [
        "'=cmd|'!A0,-0.5,",
        "'@SUM(1+1),-0.5,",
        "'-,-0.5,",
        r"\x1b[31mred,-0.5,",
        "''=1,-0.5,",
        "-0.5,-0.5,",
    ]
    read = read_table(tmp_path / "a.csv", ["type", "f1"], text=["type"])
    assert read["type"].tolist() == names
    assert read["f1"].tolist() == 8 * [-0.5]


def test_a_diverged_loss_is_a_missing_number(tmp_path):
    (tmp_path / "a.csv").write_text("loss\n1.5\nnan\n")
    assert read_table(tmp_path / "a.csv", ["loss"])["loss"].isna().tolist() == [False, True]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no such file, expected a table made by `hamlearn evaluate`"),
        ("", "not a CSV table"),
        ('"\n', "not a CSV table"),
        ("a,b\n1,2", "ends within a line"),
        ("a,b\n1,2\n", "found columns a, b; expected a, c"),
    ],
)
def test_a_broken_table_is_named(tmp_path, text, message):
    path = tmp_path / "x.csv"
    if text is not None:
        path.write_text(text)
    with pytest.raises(HamlearnError, match=rf"x\.csv: {message}"):
        read_table(path, ["a", "c"], made_by="hamlearn evaluate")
