import csv
import io

from hamlearn.report.forms import forms
from hamlearn.report.tables import Cell, Row, Table, cells, ranked


def test_a_table_can_be_copied_as_csv_and_latex() -> None:
    rows = ranked(
        [
            Row("full", cells(["97.56", "9.00"])),
            Row("=a_b", (Cell("88.52", "88.67"), Cell("10.00"))),
        ]
    )
    table = Table(
        "Scores. In percent.", "Variant", ("{F1}", "F1"), rows, (("lenient", 1), ("strict", 1))
    )
    found = forms(table)
    lines = list(csv.reader(io.StringIO(found["CSV"])))
    assert lines[0] == ["Variant", "lenient {F1}", "strict F1"]
    assert lines[1] == ["full", "97.56", "9.00"]
    assert lines[2][0] != "=a_b"  # no formula for a spreadsheet
    assert lines[2][1:] == ["88.52 (88.67)", "10.00"]
    assert r"full & \textbf{97.56} & 9.00" in found["LaTeX"]
    assert r"lenient \{F1\}" in found["LaTeX"]
