"""The charts of results: energy against the score, paired differences, confusion matrices."""

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from csg_analysis.drawing.style import published_style
from csg_analysis.drawing.svg import INK, PAPER, class_label, plain_label
from csg_analysis.report.chart import Chart, add_legend, clean, line_places, name_lines, new_figure
from csg_analysis.report.paper import published
from csg_analysis.report.rows import BASELINE, Measure, Row, energy, reference, score, to_baseline, wording
from csg_analysis.report.style import style_of
from csg_analysis.report.tables import Table, Value

__all__ = ["MOST_CLASSES", "confusion", "confusion_table", "differences", "scatter"]

MOST_CLASSES = 40
"""Of a matrix that can be read."""


def scatter(rows: Sequence[Row]) -> Chart:
    """E_0 against the score, a point a run; beside classifications, the paper's methods in a panel of their own."""
    words = wording(rows)
    beside = any(row.task == "classification" for row in rows)

    def draw() -> Figure:
        figure = new_figure(8.4, 3.9)
        ours, *others = figure.subplots(1, 1 + beside, width_ratios=[1.75, 1][: 1 + beside], squeeze=False)[0]
        handles = []
        for row in rows:
            style = style_of(row, rows)
            e, a = row.values(energy("0")), row.values(score())
            pairs = [(e[pair], 100 * a[pair]) for pair in e if pair in a]
            x, y = zip(*pairs, strict=True) if pairs else ((), ())
            points = ours.scatter(x, y, c=style.colour, marker=style.marker, s=46, edgecolors=PAPER, linewidths=0.9)
            handles.append(points)
        ours.set(title="These runs" if beside else "", ylabel=f"{words.score}, %")
        ours.set_xlabel("E₀ (mhe) on the target, lower = more diverse")
        for axes in others:
            _published_points(axes)
        for axes in (ours, *others):
            clean(axes)
        add_legend(figure, handles, [row.label for row in rows])
        return figure

    alt = f"Scatter of hyperspherical energy against {words.score}, one point a run"
    alt += ", beside the published points" if beside else ""
    return Chart("energy_accuracy", f"Energy against {words.short}", alt, draw)


def _published_points(axes: Axes) -> None:
    entries = [entry for entry in published() if "0" in entry.energy]
    for entry in entries:
        style = published_style(entry.method)
        x, y = entry.energy["0"], 100 * entry.accuracy
        axes.scatter(x, y, c=style.colour, marker=style.marker, s=40, edgecolors=PAPER, linewidths=0.9)
        right = x > 0.37
        lift = {"si": 6, "weight-l2": -9}.get(entry.method, 3)  # these two are neighbours
        axes.annotate(
            entry.label.removesuffix(" (vanilla)"),
            (x, y),
            xytext=(-6 if right else 6, lift),
            textcoords="offset points",
            ha="right" if right else "left",
            fontsize=7.5,
        )
    axes.margins(x=0.12, y=0.1)
    axes.set(title="Published (VisDA-17, ResNet-101)", xlabel="E₀ (mhe)")


def differences(rows: Sequence[Row]) -> Chart:
    """Paired differences from the baseline: each pair a dot, the mean with both intervals a bar."""
    words = wording(rows)
    panels: tuple[tuple[str, Measure, float], ...] = (
        (f"Δ {words.short} vs. baseline, points", score(), 100.0),
        ("ΔE₀ (mhe) vs. baseline", energy("0"), 1.0),
    )

    def draw() -> Figure:
        others = [row for row in rows if (base := reference(rows, BASELINE, row.group)) and base is not row]
        kinds = [row.kind for row in others]
        places, height = line_places(kinds, (0.42, 0.25))
        figure = new_figure(8.4, 1.15 + height)
        grid = figure.subplots(1, 2, sharey=True)
        for axes, (title, measure, scale) in zip(grid, panels, strict=True):
            axes.axvline(0, color=INK, linewidth=0.9, alpha=0.55)
            for place, row in zip(places, others, strict=True):
                _one_difference(axes, place, row, rows, measure, scale)
            axes.set_xlabel(title)
            axes.xaxis.set_major_locator(MaxNLocator(6))
            name_lines(axes, places, [row.label for row in others], kinds, named=axes is grid[0])
        return figure

    alt = f"Differences from the baseline over equal source and seed, with 95% intervals, {words.short} and energy"
    found = (to_baseline(row, rows, score()) for row in rows)
    over = " (for the score over seeds and pictures)" if any(one and one.crossed for one in found) else ""
    title = f"Paired differences from the baseline; thick: 95% interval, thin: simultaneous 95% interval{over}"
    return Chart("differences", title, alt, draw)


def _one_difference(axes: Axes, place: float, row: Row, rows: Sequence[Row], measure: Measure, scale: float) -> None:
    found = to_baseline(row, rows, measure)
    if found is None:
        return
    colour = style_of(row, rows).colour
    values = [scale * value for value in found.values]
    if found.interval is None or found.decisive is None:
        axes.scatter(values, np.full(len(values), place), s=26, c=colour, linewidths=0)
    else:
        axes.scatter(values, np.full(len(values), place + 0.2), s=11, c=colour, alpha=0.6, linewidths=0)
        for ends, width in ((found.decisive, 1.1), (found.interval, 3)):
            axes.plot([scale * end for end in ends], [place, place], color=colour, linewidth=width)
        axes.plot(scale * found.mean, place, "o", color=colour, markersize=6.5, markeredgecolor=PAPER)


def _mean_confusion(row: Row) -> tuple[list[str], np.ndarray] | None:
    """Mean over runs of the confusion matrices, each row divided by its total; NaN for a class without pictures."""
    records = [run.scores["target"] for run in row.runs if "target" in run.scores]
    if not records:
        return None
    counts = np.array([record.confusion for record in records], dtype=np.float64)
    totals = counts.sum(axis=2, keepdims=True)
    shares = np.divide(counts, totals, out=np.full_like(counts, np.nan), where=totals > 0)
    return records[0].classes, shares.mean(axis=0)


def confusion_table(rows: Sequence[Row]) -> Table:
    """The numbers of `confusion` but zeros, of which many classes have a great many; data only."""
    data: list[dict[str, Value]] = []
    for row in rows:
        if (found := _mean_confusion(row)) is not None:
            classes, matrix = found
            data += [
                {"row": row.label, "true": classes[i], "predicted": classes[j], "share": float(matrix[i, j])}
                for i, j in np.argwhere(np.nan_to_num(matrix))
            ]
    notes = [
        f"Share of the true class's target {wording(rows).counted}, mean over the method's runs; zeros are left out."
    ]
    return Table("confusion", "Confusion matrices", [], [], data, notes)


def confusion(rows: Sequence[Row]) -> Chart:
    """A matrix for each method."""
    counted = wording(rows).counted

    def draw() -> Figure:
        found = [(row, mean) for row in rows if (mean := _mean_confusion(row)) is not None]
        columns = 3 if len(found) > 2 else 2  # a single matrix takes half the width
        lines = math.ceil(len(found) / columns)
        figure = new_figure(8.4, lines * (0.93 * 8.4 / columns + 0.75), squares=True)
        grid = figure.subplots(lines, columns, squeeze=False)
        for position, axes in enumerate(grid.flat):
            if position >= len(found):
                axes.set_axis_off()
                continue
            row, (classes, matrix) = found[position]
            _one_matrix(axes, classes, matrix, first=position % columns == 0)
            axes.set_title(plain_label(row.label))
        return figure

    alt = f"Confusion matrices, rows true classes, columns predictions, each row divided by its number of {counted}"
    title = f"Confusion matrices, mean over runs, in % of the {counted} of each true class"
    return Chart("confusion", title, alt, draw)


def _one_matrix(axes: Axes, classes: Sequence[str], matrix: np.ndarray, *, first: bool) -> None:
    count = len(classes)
    colours = np.empty((count, count, 4))
    colours[..., :3] = (0.165, 0.435, 0.72)
    colours[..., 3] = 0.04 + 0.88 * np.nan_to_num(matrix)
    corner, side = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]) - 0.5, 0.95
    squares = [side * corner + (j, i) for i in range(count) for j in range(count)]
    axes.add_collection(PolyCollection(squares, facecolors=colours.reshape(-1, 4), linewidths=0))
    axes.set(aspect="equal", xlim=(-0.5, count - 0.5), ylim=(count - 0.5, -0.5))
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelsize=7.5)
    labels = [class_label(name) for name in classes]
    axes.set_xticks(range(count), labels, rotation=60, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(count), labels if first else [""] * count)
    if first:
        axes.set_ylabel("true")
    axes.set_xlabel("predicted")
    if count > 12:
        return
    for i in range(count):
        for j in range(count):
            if not math.isnan(matrix[i, j]) and round(100 * matrix[i, j]):
                ink = "#ffffff" if matrix[i, j] > 0.6 else INK
                axes.text(j, i, f"{100 * matrix[i, j]:.0f}", ha="center", va="center", fontsize=7, color=ink)
