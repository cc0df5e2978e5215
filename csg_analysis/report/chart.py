"""`Chart`, drawn once and rendered as SVG (follows the page's colours) and PNG (white), and what all charts share."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from csg_analysis.drawing.svg import INK

__all__ = ["Chart", "add_legend", "clean", "new_figure", "plain_label"]


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


def add_legend(figure: Figure, handles: Sequence[Artist], names: Sequence[str]) -> None:
    """Below the panels, in as many columns as fit."""
    columns = max(1, min(len(names), 110 // (6 + max(map(len, names), default=1))))
    figure.legend(handles, [plain_label(name) for name in names], loc="outside lower center", ncols=columns)


def plain_label(text: str) -> str:
    """A label that matplotlib does not hide: it takes a leading underscore for a wish to."""
    return f" {text}" if text.startswith("_") else text
