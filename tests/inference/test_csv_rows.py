import contextlib
import csv
import io
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hamlearn.errors import HamlearnError
from hamlearn.inference.csv_rows import CsvRows, Row


def rows(text):
    lines = enumerate(io.StringIO(text, newline=""), start=1)
    return list(CsvRows(lines, "a.csv"))


def table(count, **changed):
    """A table of `count` posts, some of whose lines are replaced."""
    lines = {f"p{number}": f"p{number},post number {number}," for number in range(count)} | changed
    return "id,text,image\n" + "".join(f"{line}\n" for line in lines.values())


def faults(found):
    return [(row.number, row.fault) for row in found if row.fault]


@pytest.mark.parametrize(
    "changed",
    [
        {"p9": 'p9,"and he said what,'},
        {"p9": 'p9,and,"he said what'},
        {"p9": 'p9,"and he said what,', "p40": 'p40,"a quoted text",x.jpg'},
        {"p9": 'p9,"and he said what,', "p40": 'p40,he said "hi" to Ann,x.jpg'},
        {"p9": 'p9,"and he said what,', "p40": 'p40,"two\nlines, of text",x.jpg'},
        {"p9": '"p9,and he said what,', "p10": 'p10,"a ""quoted"" text",'},
    ],
)
def test_a_quote_that_is_not_closed_spoils_its_line_alone(changed):
    found = rows(table(60, **changed))
    assert faults(found) == [(11, "not a row (a quote opens that is not closed)")]
    good = {row.cells[0]: row.cells for row in found if not row.fault}
    assert good.keys() == {"id"} | {f"p{number}" for number in range(60)} - {"p9"}
    assert all(len(row) == 3 for row in good.values())
    if changed.get("p40", "").startswith('p40,"two'):
        assert good["p40"] == ["p40", "two\nlines, of text", "x.jpg"]


def test_each_of_many_stray_quotes_spoils_its_line_alone():
    changed = {f"p{number}": f'p{number},"open {number},' for number in range(0, 60, 7)}
    found = rows(table(60, **changed))
    assert [number for number, _ in faults(found)] == [number + 2 for number in range(0, 60, 7)]
    assert len(found) == 61


@pytest.mark.parametrize("last", ['p40,and he left",', 'p40,",x.jpg'])
def test_a_quote_that_swallows_rows_ends_the_reading(last):
    text = table(60, p9='p9,"and he said what,', p40=last)
    said = "a.csv:11: found a quote that opens here, is closed on line 42 and swallows 31 lines, of"
    with pytest.raises(HamlearnError, match=said):
        rows(text)


def test_few_lines_with_ids_are_rows_and_others_are_text():
    with pytest.raises(HamlearnError, match=r"a\.csv:3: .* swallows 2 lines, of which 2 are rows"):
        rows('id,text,image\np0,a,\np1,"open,\np2,b,\np3,closed",\n')
    found = rows('id,text,image\np0,a,\np1,"well,\nyes, and, no\nso, what, now",\n')
    assert found[2] == Row(3, ["p1", "well,\nyes, and, no\nso, what, now", ""])


def test_a_row_of_too_many_fields_may_not_swallow_rows():
    with pytest.raises(HamlearnError, match=r"a\.csv:2: .* closed on line 4 and swallows 2 lines"):
        rows('id,text,image\n1,"open,x,y\n2,b,\n3,"\n4,d,\n')
    found = rows('id,text,image\n1,"two\nlines",x,y\n2,b,\n')
    assert found[1] == Row(2, ["1", "two\nlines", "x", "y"])
    assert found[2] == Row(4, ["2", "b", ""])


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("columns", [1, 2, 3, 5])
def test_cells_of_several_lines_are_read_as_spreadsheets_write_them(end, columns):
    texts = [
        "a\nb",
        "a, b\n\nc,d\n",
        '"said"\n"',
        "x",
        ",\n,,\n,",
        "\n".join("lines"),
        "one\ntwo, 3",
    ]
    given_rows = [[f"c{place}" for place in range(columns)]]
    given_rows += [[*(["1"] * (columns - 1)), text] for text in texts * 3]
    buffer = io.StringIO(newline="")
    csv.writer(buffer, lineterminator=end).writerows(given_rows)
    assert [row.cells for row in rows(buffer.getvalue())] == given_rows


TEXTS = st.text(st.sampled_from('ab ,"\n\r'), max_size=12)


@given(st.lists(st.lists(TEXTS, min_size=3, max_size=3), max_size=8))
def test_what_a_writer_writes_is_what_is_read(cells):
    given_rows = [["id", "text", "image"], *cells]
    buffer = io.StringIO(newline="")
    csv.writer(buffer, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(given_rows)
    found = rows(buffer.getvalue())
    assert [row.cells for row in found] == given_rows


@given(st.text(st.sampled_from('a,"\n'), max_size=60))
def test_every_line_is_in_one_row(text):
    try:
        found = rows("id,text\n" + text)
    except HamlearnError:
        return
    numbers = [row.number for row in found]
    assert numbers == sorted(set(numbers))
    for row, after in pairwise(found):
        if row.fault:  # the next line is read by itself
            assert after.number == row.number + 1


@pytest.mark.parametrize("line", ['x",y,"', 'a,"x', '"', '"",', 'x,"""', '"a""'])
def test_quotes_made_to_be_slow_are_not(line):
    start = time.process_time()
    with contextlib.suppress(HamlearnError):
        rows("id,text\n" + f"{line}\n" * 20_000)
    assert time.process_time() - start < 10
