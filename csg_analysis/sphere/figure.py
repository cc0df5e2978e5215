"""The picture of features on the circle: one panel a model, all on one scale."""

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from csg_analysis.drawing.numbers import fixed
from csg_analysis.drawing.svg import INK, class_label
from csg_analysis.sphere.circle import CONCENTRATION, Circle, von_mises_density

__all__ = ["TALL", "Panel", "draw", "edge", "frame", "ring"]

_Colour = tuple[float, float, float, float]
_GRID = np.linspace(-np.pi, np.pi, 721)
_INNER, _OUTER = 0.66, 0.96  # radii of the rings of the first and the last class
TALL = 0.8  # height of the highest density above the circle
_MARGIN = 0.08
_SIDE, _TITLE = 2.7, 0.46  # inches: a panel's width, and its title


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One model.

    Attributes:
        title: Of the model.
        labels: ``(N,)`` class numbers.
        energy: E_0 of its features, ``mhe`` convention.
        colour: Of its density.
    """

    title: str
    labels: np.ndarray
    energy: float
    colour: str


def draw(panels: Sequence[Panel], circle: Circle, classes: Sequence[str], subject: str) -> Figure:
    """Draw the panels.

    Each picture is a dot at its angle, on the ring of its class; the height outside the circle is the density over
    the angle. Projection, kernel and scale are named below the panels.

    Args:
        panels: One or more.
        circle: Of their features.
        classes: Names by class number; a single name where pictures have none.
        subject: Which pictures and which layer, for the note.
    """
    heights = [von_mises_density(angles_N, _GRID) for angles_N in circle.angles]
    scale = TALL / max(float(height_G.max()) for height_G in heights)
    edges = [edge(height_G, _GRID, scale) for height_G in heights]
    limits = frame(edges, scale)
    rows = math.ceil(len(panels) / 4)
    columns = math.ceil(len(panels) / rows)
    width = max(_SIDE * columns, 5.6)
    note = textwrap.fill(_note(subject, circle.share, rings=len(classes) > 1), round(17 * width))
    names = [class_label(name) for name in classes]
    keys = _legend_lines(names, width)
    below = 0.3 + 0.2 * keys + 0.135 * len(note.splitlines())
    side = width / columns * float(np.ptp(limits[1]) / np.ptp(limits[0])) + _TITLE
    figure = Figure(figsize=(width, side * rows + below))
    bottom, height = below / (side * rows + below), side / (side * rows + below)
    palette = mpl.colormaps["tab10" if len(classes) <= 10 else "tab20"]
    colours = [palette(label % palette.N) for label in range(len(classes))]
    for index, (panel, angles_N, edge_2G) in enumerate(zip(panels, circle.angles, edges, strict=True)):
        row, column = divmod(index, columns)
        place = (column / columns, bottom + (rows - 1 - row) * height, 1 / columns, height * (1 - _TITLE / side))
        axes = figure.add_axes(
            place, aspect="equal", xlim=limits[0], ylim=limits[1], frame_on=False, xticks=[], yticks=[]
        )
        ring(axes, edge_2G, scale, title=panel.title, energy=panel.energy, colour=panel.colour)
        _dots(axes, panel, angles_N, colours)
    _legend(figure, names, colours, lines=keys, top=bottom)
    figure.text(0.5, 0.07 / figure.get_figheight(), note, ha="center", va="bottom", fontsize=7)
    return figure


def _note(subject: str, share: float, *, rings: bool) -> str:
    marks = "a dot a picture, a ring a class" if rings else "a dot a picture"
    return (
        f"{subject}. Unit vectors of all panels together, by PCA to 2-D ({100 * share:.0f} % of the variance), then to "
        f"the circle: {marks}. Outside: von Mises kernel density over the angle, concentration "
        f"{CONCENTRATION:g}, one scale for all panels; dashed: the uniform density. "
        "E₀: mhe convention, in all dimensions; lower = more diverse."
    )


def edge(density_G: np.ndarray, angles_G: np.ndarray, scale: float) -> np.ndarray:
    """A density per radian as a line outside the circle of radius 1: ``(2, G)``."""
    return _points(1 + scale * density_G, angles_G)


def frame(edges: Sequence[np.ndarray], scale: float) -> np.ndarray:
    """Limits of x and y, ``(2, 2)``, that show every edge and the uniform density."""
    uniform = 1 + scale / (2 * np.pi)
    low = np.minimum(np.min([edge_2G.min(1) for edge_2G in edges], axis=0), -uniform)
    high = np.maximum(np.max([edge_2G.max(1) for edge_2G in edges], axis=0), uniform)
    limits: np.ndarray = np.stack([low - _MARGIN, high + _MARGIN], axis=1)
    return limits


def ring(axes: Axes, edge_2G: np.ndarray, scale: float, *, title: str, energy: float, colour: str) -> None:
    """The circle, a density outside it, and the uniform density, dashed."""
    ring_2G = _points(np.ones_like(_GRID), _GRID)
    outline = np.concatenate([edge_2G, ring_2G[:, ::-1]], axis=1)
    uniform_G = np.full_like(_GRID, 1 + scale / (2 * np.pi))
    axes.fill(*outline, color=colour, alpha=0.4, linewidth=0)
    axes.plot(*edge_2G, color=colour, linewidth=1.2)
    axes.plot(*ring_2G, color=INK, linewidth=0.8)
    axes.plot(*_points(uniform_G, _GRID), color=INK, linewidth=0.6, linestyle=(0, (4, 3)))
    axes.set_title(f"{title}\nE₀ = {fixed(energy, 3)} (mhe)", loc="center", pad=3)


def _dots(axes: Axes, panel: Panel, angles_N: np.ndarray, colours: Sequence[_Colour]) -> None:
    rings = np.linspace(_OUTER, _INNER, len(colours))
    for label, (radius, colour) in enumerate(zip(rings, colours, strict=True)):
        own_N = angles_N[panel.labels == label]
        where = _points(np.full(len(own_N), radius), own_N)
        axes.plot(*where, linestyle="", marker="o", color=colour, markersize=2.4, alpha=0.55, markeredgewidth=0)


def _legend_lines(names: Sequence[str], width: float) -> int:
    """Lines of a legend that is filled column by column, as wide as the figure at most."""
    for lines in range(math.ceil(len(names) / round(1.1 * width)), len(names)):
        columns = (names[start : start + lines] for start in range(0, len(names), lines))
        if sum(4 + max(map(len, column)) for column in columns) <= 14 * width:
            return lines
    return len(names)


def _legend(figure: Figure, names: Sequence[str], colours: Sequence[_Colour], *, lines: int, top: float) -> None:
    handles = [Line2D([], [], marker="o", linestyle="", color=colour, markersize=4) for colour in colours]
    figure.legend(
        handles,
        names,
        loc="upper center",
        bbox_to_anchor=(0.5, top),
        ncols=math.ceil(len(names) / lines),
        handletextpad=0.1,
        columnspacing=1.2,
    )


def _points(radius: np.ndarray, angle: np.ndarray) -> np.ndarray:
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)])
