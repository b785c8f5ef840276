"""docs/model.md: every excerpt stands in the function that it names; no equation is left out."""

import ast
import re
from pathlib import Path
from textwrap import dedent

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/model.md").read_text(encoding="utf-8")
HEAD = r"^\[(?P<file>hamlearn/\S+)\]\(\.\./(?P<link>\S+)\), `(?P<symbol>[\w.]+)`"
CODE = r"^```python\n(?P<code>.*?)^```"


def excerpts():
    """Yield file, symbol and lines; an excerpt belongs to the last file named on its own line."""
    file = symbol = None
    for found in re.finditer(f"{HEAD}|{CODE}", PAGE, re.DOTALL | re.MULTILINE):
        if found["file"]:
            assert found["file"] == found["link"]
            file, symbol = found["file"], found["symbol"]
        else:
            yield file, symbol, found["code"]


def source_of(file, symbol):
    """Return the lines of a function, or of a method named with its class."""
    text = (ROOT / file).read_text(encoding="utf-8")
    node = ast.parse(text)
    for name in symbol.split("."):
        (node,) = (one for one in node.body if getattr(one, "name", None) == name)
    return text.splitlines()[node.lineno - 1 : node.end_lineno]


def stands_in(code, lines):
    size = len(code.splitlines())
    windows = ("\n".join(lines[at : at + size]) for at in range(len(lines) - size + 1))
    return any(dedent(window).strip() == code.strip() for window in windows)


@pytest.mark.parametrize(("file", "symbol", "code"), list(excerpts()))
def test_an_excerpt_is_the_code(file, symbol, code):
    assert stands_in(code, source_of(file, symbol)), code


def test_a_changed_excerpt_is_noticed():
    file, symbol, code = next(excerpts())
    assert not stands_in(code.replace("words", "others"), source_of(file, symbol))


def test_all_equations_are_there_in_order():
    found = re.findall(r"\\qquad \((\d+)\)$", PAGE, re.MULTILINE)
    assert found == [str(number) for number in range(1, 19)]
    assert PAGE.count("```math") == 18
