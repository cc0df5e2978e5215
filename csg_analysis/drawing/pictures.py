"""Pictures under maps, and pictures beside one another."""

import textwrap
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from csg_analysis.drawing.svg import class_label, plain
from csg_train.files import atomic_write

__all__ = ["overlay", "side_by_side"]

_CAPTION = 28
"""Characters to a line of a caption, which is as wide as its picture."""


def overlay(image_HWC: np.ndarray, map_HW: np.ndarray) -> np.ndarray:
    """A picture with its map in colour, the map divided by its own maximum; a flat map leaves the picture grey.

    Returns:
        ``(H, W, 3)`` uint8.
    """
    peak = float(map_HW.max())
    share = map_HW / peak if peak > 0 else np.zeros_like(map_HW)
    colour = mpl.colormaps["turbo"](share)[..., :3] * 255
    grey = image_HWC.mean(axis=-1, keepdims=True).repeat(3, axis=-1)
    weight = (0.15 + 0.5 * share)[..., None] if peak > 0 else np.zeros((*share.shape, 1))
    return np.asarray(np.clip((1 - weight) * grey + weight * colour, 0, 255), dtype=np.uint8)


@plain()
def side_by_side(
    path: Path,
    columns: Sequence[tuple[str, np.ndarray]],
    legend: Sequence[tuple[str, tuple[int, int, int]]] = (),
    under: Sequence[tuple[str, np.ndarray] | None] = (),
) -> None:
    """Write captioned pictures beside one another as PNG.

    Args:
        path: To write, atomically.
        columns: Caption and ``(H, W, 3)`` uint8 picture of each column; the first gives the shape.
        legend: Names and colours to explain below, where there are any.
        under: A second line of as many places, None for an empty one.
    """
    lines = [columns, under] if under else [columns]
    count = len(columns)
    rows, across = columns[0][1].shape[:2]
    abreast = max(1, round(1.4 * count))
    legend_lines = -(-len(legend) // abreast)
    folds = max(_folded(place[0]).count("\n") for line in lines for place in line if place)
    line_height = 2.12 * rows / across + 0.25 + 0.15 * folds  # of a picture and the caption above it
    size = (2.2 * count, line_height * len(lines) + 0.05 + 0.25 * legend_lines)
    figure = Figure(figsize=size, dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    for line, grid in zip(lines, figure.subplots(len(lines), count, squeeze=False), strict=True):
        for axes, place in zip(grid, line, strict=True):
            axes.set_axis_off()
            axes.set_anchor("S")
            if place is not None:
                axes.imshow(place[1])
                axes.set_title(_folded(place[0]), fontsize=9, y=1.0)  # where it would be put after a search
    if legend:
        handles = [
            Patch(color="#{:02x}{:02x}{:02x}".format(*colour), label=class_label(name)) for name, colour in legend
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=abreast, fontsize=7, frameon=False)
    atomic_write(path, lambda stream: figure.savefig(stream, format="png", metadata={"Software": None}))


def _folded(caption: str) -> str:
    return textwrap.fill(caption, _CAPTION)
