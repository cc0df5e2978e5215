"""The charts of training: every loss term, and the score that a selection rule measured."""

import math
from collections.abc import Sequence

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from csg_analysis.drawing.svg import PAPER, plain_label
from csg_analysis.report import format as fmt
from csg_analysis.report.chart import Chart, add_legend, clean, new_figure
from csg_analysis.report.load import Run
from csg_analysis.report.logged import MEASURED
from csg_analysis.report.rows import Row, wording
from csg_analysis.report.style import style_of
from csg_train.splits import SELECTED_ON

__all__ = ["loss_curves", "selection_curves"]


def loss_curves(rows: Sequence[Row]) -> Chart | None:
    """Every logged term against the step, those added to nothing too, a line a run; None without a log."""
    found = {name for run in _runs(rows) for name in run.curves if name not in MEASURED}
    terms = sorted(found, key=lambda name: (name != "loss", name != "ce", name))
    if not terms:
        return None
    width = max(run.curves[name].width for run in _runs(rows) for name in terms if name in run.curves)

    def draw() -> Figure:
        columns = len(terms) if len(terms) <= 4 else 3
        lines = math.ceil(len(terms) / columns)
        figure = new_figure(8.4, 2.15 * lines + 0.55)
        grid = figure.subplots(lines, columns, squeeze=False)
        handles: dict[str, Artist] = {}
        for position, axes in enumerate(grid.flat):
            if position >= len(terms):
                axes.set_axis_off()
                continue
            _plot(axes, rows, terms[position], handles)
            axes.set_title(plain_label(terms[position]))
            axes.set_ylim(bottom=min(0, axes.get_ylim()[0]))
            if position >= len(terms) - columns:
                axes.set_xlabel("step")
        add_legend(figure, list(handles.values()), list(handles))
        return figure

    how = "every logged step" if width == 1 else f"mean of {fmt.fixed(width, 0)} logged steps a point"
    title = f"Logged terms while training, a line a run ({how})"
    return Chart("curves", title, "Training curves of every logged term", draw)


def selection_curves(rows: Sequence[Row]) -> Chart | None:
    """The score that the selection rule measured against the step, the chosen step a dot; None with the rule last."""
    terms = [name for name in MEASURED if any(name in run.curves for run in _runs(rows))]
    if not terms:
        return None
    words = wording(rows)

    def draw() -> Figure:
        figure = new_figure(8.4, 3.0)
        handles: dict[str, Artist] = {}
        for axes, term in zip(figure.subplots(1, len(terms), squeeze=False)[0], terms, strict=True):
            _plot(axes, rows, term, handles, scale=100)
            _dots(axes, rows, term)
            axes.set(title=f"on {MEASURED[term]} pictures", xlabel="step", ylabel=f"{words.score}, %")
        add_legend(figure, list(handles.values()), list(handles))
        return figure

    alt = f"{words.short} at every step that the selection rule measured"
    title = f"What the selection rule saw: {words.score} while training, a line a run, a mark at the chosen step"
    return Chart("selection", title, alt, draw)


def _runs(rows: Sequence[Row]) -> list[Run]:
    return [run for row in rows for run in row.runs]


def _plot(axes: Axes, rows: Sequence[Row], term: str, handles: dict[str, Artist], *, scale: float = 1) -> None:
    for row in rows:
        for run in row.runs:
            if (curve := run.curves.get(term)) is not None:
                values = [scale * value for value in curve.values]
                (line,) = axes.plot(curve.steps, values, color=style_of(row, rows).colour, alpha=0.75)
                handles.setdefault(row.label, line)
    clean(axes)


def _dots(axes: Axes, rows: Sequence[Row], term: str) -> None:
    for row in rows:
        style = style_of(row, rows)
        for run in row.runs:
            curve = run.curves.get(term)
            if curve is None or run.info.step not in curve.steps or SELECTED_ON.get(run.info.selection) is None:
                continue
            value = 100 * curve.values[curve.steps.index(run.info.step)]
            axes.plot(run.info.step, value, style.marker, color=style.colour, markersize=6.5, markeredgecolor=PAPER)
