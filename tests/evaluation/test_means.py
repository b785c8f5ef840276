import pandas as pd
import pytest
from rich.console import Console

from hamlearn.evaluation.evaluate import COLUMNS
from hamlearn.evaluation.means import (
    SHOWN,
    mean_and_deviation,
    summary,
    systems_readable,
    systems_table,
)


def row(variant, seed, split, scheme, f1, type_="all", cue="all", control="none", seen="all"):
    run = ("demo", "demo", variant, seed, control)
    return (*run, split, scheme, type_, cue, seen, 0.5, 0.5, f1, 10, 10, 0)


def lines(metrics):
    console = Console(width=120, color_system=None)
    with console.capture() as capture:
        console.print(summary(metrics))
    said = capture.get().replace(" ± ", "±").splitlines()
    assert said[2].strip() == "demo, detector demo"
    return [line.split() for line in said[5:]]


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
        ["full", "2", "91.00±1.41", "80.00±0.00", "71.00±1.41", "62.00±2.83"],
        ["text_only", "1", "50.00", "–", "–", "–"],  # noqa: RUF001
    ]


def test_a_name_is_neither_markup_nor_a_control_character():
    hostile = row("[red]x[/bold]\x1b[31m", 0, "dev", "lenient", 0.5)
    first, second = lines(pd.DataFrame([hostile], columns=list(COLUMNS)))
    assert [first[0], *second] == [r"[red]x[/bold]\x1b[", "31m"]


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


def test_the_table_of_means_has_the_best_in_bold():
    rows = [
        row(variant, seed, "test", "lenient", f1)
        for variant, scores in {"full": (0.7, 0.8), "bert": (0.74, 0.74)}.items()
        for seed, f1 in enumerate(scores)
    ]
    means = systems_table(pd.DataFrame(rows, columns=list(COLUMNS)))
    assert means["variant"].tolist() == ["full", "bert"]
    assert means["seeds"].tolist() == [2, 2]
    assert means["test_lenient"].tolist() == pytest.approx([75, 74])
    assert means["test_lenient_sd"].tolist() == pytest.approx([50**0.5, 0])
    assert means["dev_strict"].isna().all()
    (part,) = systems_readable(means).parts
    assert [(row.cells[2], row.cells[6], list(row.bold)) for row in part.rows] == [
        ("full", "75.00 ± 7.07", [6]),
        ("bert", "74.00 ± 0.00", []),
    ]


def test_a_terminal_of_80_columns_shows_every_word():
    long = "gvatt_bert_crf-lr0.0001-rounds2"
    rows = [
        row(name, seed, split, scheme, 0.9 + seed / 50)
        for name in ("full", long)
        for split, scheme in SHOWN
        for seed in (0, 1)
    ]
    console = Console(width=80, color_system=None)
    with console.capture() as capture:
        console.print(summary(pd.DataFrame(rows, columns=list(COLUMNS))))
    said = capture.get().splitlines()
    assert max(map(len, said)) <= 80
    assert sum(line.count("91.00 ± 1.41") for line in said) == 8
    assert [line.split()[0] for line in said[-2:]] == ["gvatt_bert_crf-", "lr0.0001-rounds2"]
