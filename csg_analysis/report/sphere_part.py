"""Features on a circle: the densities of all checkpoints that were projected together, on one scale."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from csg_analysis.drawing.svg import plain_label
from csg_analysis.report import format as fmt
from csg_analysis.report.cells import run_label
from csg_analysis.report.chart import Chart, new_figure
from csg_analysis.report.load import Run
from csg_analysis.report.part import Part, splits_of
from csg_analysis.report.rows import Row
from csg_analysis.report.style import style_of
from csg_analysis.report.tables import Cell, Column, Table, Value
from csg_analysis.report.wording import input_size
from csg_analysis.sphere.figure import TALL, edge, frame, ring
from csg_analysis.sphere.record import grid
from csg_train.runs.records import SphereRecord

__all__ = ["sphere_part"]

_Panel = tuple[Row, Run, SphereRecord]


def sphere_part(rows: Sequence[Row]) -> Part | None:
    """A figure and a table for each circle; None without records of ``csg-analyze sphere``."""
    circles = _circles(rows)
    if not circles:
        return None
    tables = tuple(_table(name, panels) for name, panels in circles.items())
    charts = tuple(_chart(name, panels, rows) for name, panels in circles.items())
    return Part("sphere", "Circle", "Features on a circle", tables, charts)


def _circles(rows: Sequence[Row]) -> dict[str, list[_Panel]]:
    """Panels of equal plane by the name of their figure; different planes never share one."""
    named: dict[str, list[_Panel]] = {}
    for split in splits_of(rows, "sphere"):
        found: dict[tuple[object, ...], list[_Panel]] = {}
        for row in rows:
            for run in row.runs:
                if (record := run.sphere.get(split)) is not None:
                    key = (record.data, record.layer, record.pool, *record.together)
                    found.setdefault(key, []).append((row, run, record))
        for number, panels in enumerate(found.values(), start=1):
            named[f"sphere_{split}" + (f"_{number}" if number > 1 else "")] = panels
    return named


def _table(name: str, panels: Sequence[_Panel]) -> Table:
    record = panels[0][2]
    cells: list[list[Cell]] = []
    data: list[dict[str, Value]] = []
    for row, run, own in panels:
        top = max(own.density)
        numbers = [Cell(fmt.fixed(value, 3), sort=value) for value in (own.energy, top)]
        cells.append([Cell(run.name), Cell(row.label), *numbers])
        data.append({"run": run.name, "row": row.label, "e0_mhe": own.energy, "highest_density": top})
    count = len(record.together)
    return Table(
        name=name,
        title=f"Density of the features on a circle, {record.data.split} pictures",
        columns=[
            Column("Run", numeric=False),
            Column("Method", numeric=False),
            Column("E₀", "mhe, all dimensions"),
            Column("Highest density", "per radian"),
        ],
        rows=cells,
        data=data,
        notes=[
            f"Projection: {record.definition}, concentration {record.concentration:g}. The plane is of {count} "
            f"checkpoints, {len(panels)} of them here, and holds {fmt.percent(record.share)} % of the variance. "
            f"A uniform density is {fmt.fixed(1 / (2 * math.pi), 3)}.",
            f"{record.pool.capitalize()} pool of {record.layer}; {record.data.name}, {record.data.count} pictures "
            f"({input_size(record.data)}). Two dimensions show little: E₀ uses all of them, lower = more diverse.",
        ],
    )


def _chart(name: str, panels: Sequence[_Panel], rows: Sequence[Row]) -> Chart:
    angles_G = np.append(grid(), np.pi)
    densities = [np.array([*record.density, record.density[0]]) for _, _, record in panels]

    def draw() -> Figure:
        scale = TALL / max(float(density_G.max()) for density_G in densities)
        edges = [edge(density_G, angles_G, scale) for density_G in densities]
        limits = frame(edges, scale)
        columns = min(len(panels), 4)
        lines = math.ceil(len(panels) / columns)
        side = 8.4 / max(columns, 3)
        figure = new_figure(side * columns, lines * (side * float(np.ptp(limits[1]) / np.ptp(limits[0])) + 0.4))
        grid_of_axes = figure.subplots(lines, columns, squeeze=False)
        for axes in grid_of_axes.flat:
            axes.set(aspect="equal", xlim=limits[0], ylim=limits[1])
            axes.set_axis_off()
        for (row, run, record), edge_2G, axes in zip(panels, edges, grid_of_axes.flat, strict=False):
            colour = style_of(row, rows).colour
            ring(
                axes, edge_2G, scale, title=plain_label(run_label(row, run, rows)), energy=record.energy, colour=colour
            )
        return figure

    split = panels[0][2].data.split
    title = f"Density over the angle, {split} pictures: one plane and one scale; dashed: the uniform density"
    return Chart(name, title, f"Density of the features on a circle, a panel a checkpoint, {split} pictures", draw)
