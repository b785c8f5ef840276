import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from matplotlib.axes import Axes

from hamlearn import report
from hamlearn.report.style import COLOURS, ORDER, TEXT, Figure, draw, highlighting, place_of, tip
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


# --- contrast of text, as WCAG 2.2 computes it ------------------------------------------------

CSS = (Path(report.__file__).parent / "templates/style.css").read_text(encoding="utf-8")
PAPERS = ("paper", "band")
PAIRS = [
    *((text, paper) for text in ("ink", "soft", "link", "alarm", "right") for paper in PAPERS),
    *((text, "alarm-paper") for text in ("ink", "soft", "alarm", "link")),
    ("alarm-paper", "alarm"),  # the mark of a warning
    ("paper", "ink"),  # the value of a mark of a figure
]
Rgb = tuple[float, ...]


def palette(dark: bool) -> dict[str, Rgb]:
    light, dark_block = re.findall(r":root \{(.*?)\}", CSS, re.DOTALL)
    found = re.findall(r"--([\w-]+): #(\w{6});", light + (dark_block if dark else ""))
    return {name: rgb(digits) for name, digits in found}


def rgb(digits: str) -> Rgb:
    return tuple(bytes.fromhex(digits.removeprefix("#")))


def mixed(colour: Rgb, share: float, paper: Rgb) -> Rgb:
    return tuple(share * a + (1 - share) * b for a, b in zip(colour, paper, strict=True))


def contrast(one: Rgb, other: Rgb) -> float:
    def luminance(colour: Rgb) -> float:
        linear = [
            c / 255 / 12.92 if c / 255 <= 0.04045 else ((c / 255 + 0.055) / 1.055) ** 2.4
            for c in colour
        ]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_is_that_of_the_standard() -> None:
    assert contrast(rgb("000000"), rgb("ffffff")) == pytest.approx(21)
    assert contrast(rgb("777777"), rgb("ffffff")) == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize("dark", [False, True])
def test_text_of_the_page_stands_out_on_what_is_behind_it(dark: bool) -> None:
    colours = palette(dark)
    found = {pair: contrast(colours[pair[0]], colours[pair[1]]) for pair in PAIRS}
    found["number", "label"] = contrast(rgb("ffffff"), colours["label"])
    (share,) = map(float, re.findall(r"var\(--share\) \* (\d+)%", CSS))
    (marked,) = map(float, re.findall(r"var\(--type\) (\d+)%", CSS))
    for paper in PAPERS:
        shaded = mixed(colours["link"], share / 100, colours[paper])
        found["ink", f"the best cell on {paper}"] = contrast(colours["ink"], shaded)
        for colour in COLOURS:  # of types
            behind = mixed(rgb(colour), marked / 100, colours[paper])
            found["ink", f"{colour} on {paper}"] = contrast(colours["ink"], behind)
    assert {pair: round(ratio, 2) for pair, ratio in found.items() if ratio < 4.5} == {}


def test_text_of_figures_stands_out_in_files_of_their_own() -> None:
    assert contrast(rgb(TEXT), rgb("ffffff")) >= 4.5
