import re
import xml.etree.ElementTree as ET

from matplotlib.axes import Axes

from hamlearn.report.style import ORDER, TEXT, Figure, draw, highlighting, place_of, tip
from tests.report.fabricated import SYSTEMS


def plotted(name: str, title: str = "a line") -> Figure:
    return draw(name, title, lambda axes: axes[0].plot([1, 2], label="x"), (3, 2))


def test_ids_of_figures_on_one_page_differ() -> None:
    figures = [plotted(name) for name in ("one", "other")]
    ids = [set(re.findall(r'\bid="([^"]*)"', figure.svg)) for figure in figures]
    assert ids[0]
    assert not ids[0] & ids[1]
    for figure, own in zip(figures, ids, strict=True):
        used = set(re.findall(r'(?:href="#|url\(#)([^")]*)', figure.svg))
        assert used <= own


def test_the_same_figure_has_the_same_bytes() -> None:
    assert plotted("one") == plotted("one")


def test_inline_takes_the_colour_of_the_page() -> None:
    figure = plotted("one", 'a "title" & <more>')
    assert TEXT in figure.svg
    body = figure.inline()
    assert TEXT not in body
    assert body.startswith("<svg")
    root = ET.fromstring(body)
    assert root.get("aria-label") == 'a "title" & <more>'
    assert root.get("role") == "img"


def test_marks_have_texts_and_legends_highlight_their_series() -> None:
    hostile = 'a "b" <c> & d'

    def paint(axes: list[Axes]) -> None:
        (line,) = axes[0].plot([1, 2], label=hostile)
        tip(line, f"{hostile}: 1", hostile)
        highlighting(axes[0].legend())

    figure = draw("one", "title", paint, (3, 2))
    root = ET.fromstring(figure.inline())
    assert root.get("role") == "group"
    found = {group.get("class"): group for group in root.iter() if group.get("data-series")}
    assert found.keys() == {"tip", "part", "entry"}
    assert {group.get("data-series") for group in found.values()} == {hostile}
    assert found["tip"].get("aria-label") == f"{hostile}: 1"
    assert found["entry"].get("aria-label") == f"highlight {hostile}"
    assert [group.get("tabindex") for group in found.values()].count("0") == 2


def test_colours_stay_when_a_variant_is_absent() -> None:
    assert place_of("text_only", ["text_only"]) == place_of("text_only", SYSTEMS)
    assert place_of("mine", ["full", "mine"]) == len(ORDER)
