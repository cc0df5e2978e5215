"""`Chart`, drawn once and rendered as SVG (follows the page's colours) and PNG (white), and what all charts share."""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from csg_analysis.drawing.svg import INK, plain_label

__all__ = ["FEW", "Chart", "add_legend", "clean", "line_places", "name_lines", "new_figure"]

FEW = 12
"""More lines than this are drawn closer, and longer tables than this are folded on the page."""


@dataclass(frozen=True)
class Chart:
    """A drawing not yet made.

    Attributes:
        name: File name stem.
        title: Caption.
        alt: What it shows, in words.
        draw: Makes the figure; called under the report's own matplotlib settings.
    """

    name: str
    title: str
    alt: str
    draw: Callable[[], Figure]


def new_figure(width: float, height: float, *, squares: bool = False) -> Figure:
    """An empty figure, in inches; ``squares`` draws panels of fixed aspect together."""
    return Figure(
        figsize=(width, height),
        layout=ConstrainedLayoutEngine(w_pad=0.06, h_pad=0.06, wspace=0.04, hspace=0.06, compress=squares),
    )


def clean(axes: Axes) -> None:
    """Without frame, over a faint grid."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(color=INK, alpha=0.12, linewidth=0.6)
    axes.set_axisbelow(True)


def line_places(kinds: Sequence[str], pitch: tuple[float, float]) -> tuple[list[float], float]:
    """Where a chart with a line a row has its lines, from 0 downwards, and how many inches all take.

    Args:
        kinds: Of each row; between two kinds is room for the name of the second, above the first for its own.
        pitch: Inches a line, up to `FEW` rows and for more.
    """
    gaps = [int(position > 0 and kind != kinds[position - 1]) for position, kind in enumerate(kinds)]
    places = [position + gap for position, gap in enumerate(itertools.accumulate(gaps))]
    return [float(place) for place in places], pitch[len(kinds) > FEW] * (len(kinds) + sum(gaps))


def name_lines(axes: Axes, places: Sequence[float], names: Sequence[str], kinds: Sequence[str], *, named: bool) -> None:
    """Prepare such axes: names at the left, kinds in the gaps of those axes that are ``named``, no vertical axis."""
    axes.set(ylim=(places[-1] + 0.6, places[0] - 0.6))
    axes.set_yticks(places, [plain_label(name) for name in names])
    clean(axes)
    axes.grid(visible=False, axis="y")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    for place, kind, before in zip(places[1:], kinds[1:], kinds[:-1], strict=True):
        if named and kind != before:
            axes.annotate(
                kind, (0, place - 1), xycoords=axes.get_yaxis_transform(), va="center", fontsize=8, fontweight="bold"
            )


def add_legend(figure: Figure, handles: Sequence[Artist], names: Sequence[str]) -> None:
    """Below the panels, in as many columns as fit; from the third line on the figure grows for it."""
    width, height = figure.get_size_inches()
    columns = next((n for n in range(len(names), 1, -1) if _letters(names, n) <= 13 * width), 1)
    lines = math.ceil(len(names) / columns)
    figure.set_size_inches(width, height + 0.17 * max(0, lines - 2))
    figure.legend(handles, [plain_label(name) for name in names], loc="outside lower center", ncols=columns)


def _letters(names: Sequence[str], columns: int) -> int:
    """How wide so many columns are, each as its longest name and its mark."""
    lines = math.ceil(len(names) / columns)
    return sum(6 + max(map(len, names[start : start + lines])) for start in range(0, len(names), lines))
