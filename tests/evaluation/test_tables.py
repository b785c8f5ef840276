import pandas as pd
import pytest
from rich.console import Console

from hamlearn.errors import HamlearnError
from hamlearn.evaluation.evaluate import COLUMNS
from hamlearn.evaluation.tables import mean_and_deviation, read_table, summary, write_table


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


def row(variant, seed, split, scheme, f1, type_="all", cue="all", control="none", seen="all"):
    run = ("demo", "demo", variant, seed, control)
    return (*run, split, scheme, type_, cue, seen, 0.5, 0.5, f1, 10, 10, 0)


def lines(metrics):
    console = Console(width=120, color_system=None)
    with console.capture() as capture:
        console.print(summary(metrics))
    cells = [line.strip("│ ").split("│") for line in capture.get().splitlines() if "│" in line]
    return [[cell.replace(" ", "") for cell in line] for line in cells]


def test_micro_f1_over_seeds():
    rows = [
        row("full", 0, "dev", "lenient", 0.90),
        row("full", 1, "dev", "lenient", 0.92),
        row("full", 0, "dev", "lenient", 0.10, type_="PER"),
        row("full", 0, "dev", "lenient", 0.10, cue="scene"),
        row("full", 0, "dev", "lenient", 0.10, control="removed"),
        row("full", 0, "dev", "lenient", 0.10, seen="no"),
        row("full", 0, "dev", "strict", 0.80),
        row("full", 1, "dev", "strict", 0.80),
        row("full", 0, "test", "lenient", 0.70),
        row("full", 1, "test", "lenient", 0.72),
        row("full", 0, "test", "strict", 0.60),
        row("full", 1, "test", "strict", 0.64),
        row("text_only", 0, "dev", "lenient", 0.5),
    ]
    assert lines(pd.DataFrame(rows, columns=list(COLUMNS))) == [
        ["demo", "demo", "full", "2", "91.00±1.41", "80.00±0.00", "71.00±1.41", "62.00±2.83"],
        ["demo", "demo", "text_only", "1", "50.00", "-", "-", "-"],
    ]


def test_a_name_is_neither_markup_nor_a_control_character():
    hostile = row("[red]x[/bold]\x1b[31m", 0, "dev", "lenient", 0.5)
    assert lines(pd.DataFrame([hostile], columns=list(COLUMNS)))[0][2] == r"[red]x[/bold]\x1b[31m"


def test_mean_and_deviation():
    assert mean_and_deviation(pd.Series([0.8])) == "80.00"
    assert mean_and_deviation(pd.Series([0.8, 0.9])) == "85.00 ± 7.07"
    assert mean_and_deviation(pd.Series([], dtype=float)) == "-"


def test_nothing_is_cut_on_a_narrow_terminal():
    rows = [row("text_only", seed, "dev", "lenient", 0.9 + seed / 50) for seed in (0, 1)]
    console = Console(width=60, color_system=None)
    with console.capture() as capture:
        console.print(summary(pd.DataFrame(rows, columns=list(COLUMNS))))
    assert "…" not in capture.get()
    assert "1.41" in capture.get()
