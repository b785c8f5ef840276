"""The look of every figure: colours, marks, sizes, and how SVG is written.

Figures are transparent, with text in a grey that is legible on white and on near black. The colours
are those of Okabe and Ito that stand out on both, and no two lines differ by colour alone.
"""

import html
import io
import re
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
from markupsafe import Markup, escape
from matplotlib import figure
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.legend import Legend

from hamlearn.systems import SYSTEMS

TEXT = "#767676"
_PART = "\N{SYMBOL FOR UNIT SEPARATOR}"  # begins an id that becomes attributes
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#8A8A8A", "#E69F00", "#56B4E9")
MARKS = ("o", "s", "D", "^", "X", "v", "P")
Dashes = str | tuple[int, tuple[int, ...]]
DASHES: tuple[Dashes, ...] = (
    "-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (1, 3)),
)  # fmt: skip
ORDER = tuple(SYSTEMS)  # a system's colour does not depend on which others were trained
FONT = "system-ui, -apple-system, Roboto, 'DejaVu Sans', sans-serif"
STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 9.0,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9.0,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 8.5,
    "legend.fontsize": 8.5,
    "text.color": TEXT,
    "text.parse_math": False,  # the name of a type may contain dollar signs
    "axes.labelcolor": TEXT,
    "axes.edgecolor": TEXT,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "xtick.color": TEXT,
    "ytick.color": TEXT,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "grid.color": TEXT,
    "grid.alpha": 0.25,
    "grid.linewidth": 0.6,
    "lines.linewidth": 1.6,
    "legend.frameon": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
    "savefig.facecolor": "none",
    "svg.fonttype": "none",  # text stays text: searchable, and in the reader's own font
}


@dataclass(frozen=True)
class Figure:
    """A figure: the name of its file without `.svg`, its content, and what it shows."""

    name: str
    svg: str
    title: str

    def inline(self) -> Markup:
        """Return the figure as part of a page: in the page's text colour, with its title."""
        body = self.svg[self.svg.index("<svg") :].replace(TEXT, "currentColor")
        role = (
            "group" if 'tabindex="0"' in body else "img"
        )  # the parts of an image cannot be focused
        head = f'<svg role="{role}" aria-label="{escape(self.title)}"'
        return Markup(body.replace("<svg", head, 1))


def tip(artist: Artist, text: str, series: str = "") -> None:
    """State what a mark of a figure shows, on hover and focus; `series` is that of a legend."""
    artist.set_gid(_PART.join(("", "tip", series, text)))


def in_series(artist: Artist, series: str) -> None:
    """Make a part of a figure stand out with the others of its series."""
    artist.set_gid(_PART.join(("", "part", series, "")))


def highlighting(legend: Legend) -> None:
    """Let each entry of a legend highlight its series, on hover and focus."""
    for entry, handle in zip(legend.get_texts(), legend.legend_handles, strict=True):
        series = entry.get_text()
        entry.set_gid(_PART.join(("", "entry", series, f"highlight {series}")))
        if handle is not None:
            in_series(handle, series)


def _attributes(found: re.Match[str]) -> str:
    _, kind, series, text = html.unescape(found.group(2)).split(_PART)
    of = f' data-series="{escape(series)}"' if series else ""
    focus = f' tabindex="0" role="img" aria-label="{escape(text)}"' if text else ""
    return f'<g class="{kind}"{of}{focus}'


def look(number: int) -> tuple[str, str, Dashes]:
    """Return colour, mark and dashes of the n-th of several lines."""
    place, turn = number % len(COLOURS), number // len(COLOURS)
    other = (place + turn) % len(COLOURS)  # a repeated colour comes with another mark
    return COLOURS[place], MARKS[other], DASHES[other]


def place_of(variant: str, variants: Sequence[str]) -> int:
    """Return the number of a variant for `look`; a known system always has the same."""
    if variant in ORDER:
        return ORDER.index(variant)
    return len(ORDER) + [name for name in variants if name not in ORDER].index(variant)


def draw(
    name: str,
    title: str,
    paint: Callable[[list[Axes]], None],
    size: tuple[float, float],
    rows: int = 1,
    share_x: bool = False,
) -> Figure:
    """Draw a figure; the same input produces the same bytes.

    `name` is that of its file and the prefix of all its ids. `paint` draws on the axes, from top to
    bottom. The size is in inches.
    """
    style: Any = dict(matplotlib.rcParamsDefault) | STYLE | {"svg.hashsalt": name}
    with matplotlib.rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        drawing = figure.Figure(figsize=size, layout="constrained")
        FigureCanvasSVG(drawing)
        axes = drawing.subplots(rows, 1, squeeze=False, sharex=share_x)
        paint(list(axes[:, 0]))
        buffer = io.StringIO()
        drawing.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    svg = re.sub(
        r"<!DOCTYPE.*?>\s*|<metadata>.*?</metadata>\s*|<!--.*?-->\s*",
        "",
        buffer.getvalue(),
        flags=re.DOTALL,
    )
    svg = re.sub(rf"<g id=([\"'])({_PART}.*?)\1", _attributes, svg)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)  # unique on the page
    return Figure(name, svg.replace("'DejaVu Sans'", FONT), title)
