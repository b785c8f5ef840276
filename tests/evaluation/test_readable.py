import re

import numpy as np
import pandas as pd

from hamlearn.evaluation.readable import Part, Readable, Row, readable, write_forms

HOSTILE = "a|b_50% #1 & {x} $y$ ~^\\ <i> \x1b"
SHOWN = Readable(
    "Table 2: some_systems",
    "Percent.",
    [
        Part(
            ("", "P_1", "F1"),
            [
                Row([HOSTILE, "83.12 ± 0.20", "–"], marks=[1, 2], bold=[1]),  # noqa: RUF001
                Row(["", "−1.00", "+2.00"]),  # noqa: RUF001
            ],
            "corpus & co",
            ["one_note", "50 %"],
        ),
        Part(("a", "a"), [Row(["x", "1"])]),
    ],
)


def test_markdown():
    assert SHOWN.markdown().splitlines() == [
        "# Table 2: some_systems",
        "",
        "Percent.",
        "",
        "## corpus &amp; co",
        "",
        "|  | P\\_1 | F1 |",
        "| --- | --- | --- |",
        "| a\\|b\\_50% #1 &amp; \\{x\\} \\$y\\$ \\~^\\\\ &lt;i&gt; \\\\x1b<sup>1</sup><sup>2</sup>"
        " | **83.12 ± 0.20** | – |",  # noqa: RUF001
        "|  | −1.00 | +2.00 |",  # noqa: RUF001
        "",
        "1. one\\_note",
        "2. 50 %",
        "",
        "| a | a |",
        "| --- | --- |",
        "| x | 1 |",
    ]


def test_latex():
    text = SHOWN.latex()
    first, second = text.split(r"\end{table}")[:2]
    assert first.count(r"\begin{table}") == second.count(r"\begin{table}") == 1
    assert r"\caption{Table 2: some\_systems: corpus \& co}" in first
    assert r"\label{tab:table-2-some-systems-corpus-co}" in first
    assert r"\begin{tabular}{lrr}" in first
    lines = first.splitlines()
    body = lines[lines.index(r"\toprule") + 1 : lines.index(r"\bottomrule")]
    assert body == [
        r" & P\_1 & F1 \\",
        r"\midrule",
        r"a|b\_50\% \#1 \& \{x\} \$y\$ \textasciitilde \textasciicircum \textbackslash \space <i>"
        r" \textbackslash x1b\textsuperscript{1}\textsuperscript{2}"
        r" & \textbf{83.12 $\pm$ 0.20} & -- \\",
        r" & $-$1.00 & +2.00 \\",
    ]
    assert r"\textsuperscript{1} one\_note" in first
    assert r"\textsuperscript{2} 50 \%" in first
    assert "a & a \\\\\n\\midrule\nx & 1 \\\\" in second
    for table in (first, second):  # braces close, and each row has as many cells
        plain = re.sub(r"\\[{}&%#$_\\]", "", table)
        assert plain.count("{") == plain.count("}")


def test_a_table_as_it_is_and_its_files(tmp_path):
    table = pd.DataFrame(
        {"system": ["a", "b"], "posts": [3, 4], "gain_f1": [-1.234, np.nan], "p": [0.05, 1.0]}
    )
    shown = readable("Gains", table, "In points.")
    assert "| system | posts | gain f1 | p |" in shown.markdown()
    assert "| a | 3 | −1.23 | 0.05 |" in shown.markdown()  # noqa: RUF001
    assert "| b | 4 | – | 1.00 |" in shown.markdown()  # noqa: RUF001
    write_forms(tmp_path / "gains.csv", table, shown, decimals=3)
    assert (tmp_path / "gains.csv").read_text().splitlines()[1] == "a,3,-1.234,0.050"
    assert (tmp_path / "gains.md").read_text() == shown.markdown()
    assert (tmp_path / "gains.tex").read_text() == shown.latex()
    assert len(list(tmp_path.iterdir())) == 3


def test_a_table_without_rows():
    shown = readable("Gains", pd.DataFrame({"system": [], "f1": []}))
    assert shown.markdown().splitlines()[-2:] == ["| system | f1 |", "| --- | --- |"]
    assert r"system & f1 \\" in shown.latex()
