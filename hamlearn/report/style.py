"""The look of every figure: one place for colours, marks, sizes, and the writing of SVG.

Figures are transparent, their text a grey that can be read on white and on near black. Colours are
those of Okabe and Ito that stand out on both, and no two lines differ by colour alone.
"""

import io
import re
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import matplotlib
from markupsafe import escape
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from hamlearn.systems import SYSTEMS

TEXT = "#767676"
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#8A8A8A", "#E69F00", "#56B4E9")
MARKS = ("o", "s", "D", "^", "X", "v", "P")
Dashes = str | tuple[int, tuple[int, ...]]
DASHES: tuple[Dashes, ...] = (
    "-",
    "--",
    "-.",
    ":",
    (0, (6, 1, 1, 1, 1, 1)),
    (0, (8, 2)),
    (0, (1, 3)),
)
ORDER = tuple(SYSTEMS)  # their colours stay when one is absent
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
    "text.parse_math": False,  # a type may hold dollars
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
    "svg.fonttype": "none",  # words stay words: searchable, and in the reader's own font
}


def look(number: int) -> tuple[str, str, Dashes]:
    """Return colour, mark and dashes of the n-th of some things that are told apart."""
    place, turn = number % len(COLOURS), number // len(COLOURS)
    other = (place + turn) % len(COLOURS)  # the same colour comes again with another mark
    return COLOURS[place], MARKS[other], DASHES[other]


def place_of(variant: str, variants: Sequence[str]) -> int:
    """Return the number of a variant for `look`: the known ones always have the same."""
    if variant in ORDER:
        return ORDER.index(variant)
    return len(ORDER) + [name for name in variants if name not in ORDER].index(variant)


def draw(
    name: str,
    paint: Callable[[list[Axes]], None],
    size: tuple[float, float],
    rows: int = 1,
    share_x: bool = False,
) -> str:
    """Return a figure as SVG; the same figure gives the same bytes.

    Args:
        name: of the figure, with which all its ids begin.
        paint: draws on the axes, which are given from top to bottom.
        size: width and height in inches.
        rows: number of axes.
        share_x: whether all axes have the lowest one's x axis.
    """
    style: Any = dict(matplotlib.rcParamsDefault) | STYLE | {"svg.hashsalt": name}
    with matplotlib.rc_context(style), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        warnings.filterwarnings("ignore", message="Matplotlib currently does not support")
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.subplots(rows, 1, squeeze=False, sharex=share_x)
        paint(list(axes[:, 0]))
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return _clean(buffer.getvalue(), name)


def inline(svg: str, title: str) -> str:
    """Return a figure as a part of a page: in the page's text colour, named for screen readers.

    Args:
        svg: as `draw` gives it.
        title: what the figure shows, as plain text.
    """
    body = svg[svg.index("<svg") :].replace(TEXT, "currentColor")
    return body.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1)


def _clean(svg: str, name: str) -> str:
    """Leave out what says nothing, and make ids unlike those of any other figure."""
    svg = re.sub(r"<!DOCTYPE.*?>\s*|<metadata>.*?</metadata>\s*|<!--.*?-->\s*", "", svg, flags=re.S)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    return svg.replace("'DejaVu Sans'", FONT)
