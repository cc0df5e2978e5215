"""The chart beside the summary: score and E_0 on the target of every method, in one order."""

import textwrap
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from csg_analysis.drawing.svg import INK, PAPER
from csg_analysis.report.chart import FEW, Chart, line_places, name_lines, new_figure
from csg_analysis.report.load import Run
from csg_analysis.report.rows import FROZEN, Measure, Row, energy, score, wording
from csg_analysis.report.stats import LEVEL, MIN_PAIRS
from csg_analysis.report.style import style_of
from csg_analysis.report.wording import capital
from csg_train.runs.records import Interval

__all__ = ["headline"]

_LETTERS = (34, 22)  # of a name in a line, where there are many and few: beside it is room for two panels
_Own = Callable[[Run], Interval | None]


def headline(rows: Sequence[Row]) -> Chart | None:
    """A panel a measure, a line a method: runs faint, mean and interval; None where nothing was measured."""
    words = wording(rows)
    every: list[tuple[str, Measure, _Own, float]] = [
        (f"{capital(words.short)} in %\nhigher = better", score(), _score_interval, 100.0),
        ("E₀ (mhe)\nlower = more diverse", energy("0"), _energy_interval, 1.0),
    ]
    panels = [panel for panel in every if any(row.spread(panel[1]) for row in rows)]
    if not panels:
        return None

    def draw() -> Figure:
        kinds = [row.kind for row in rows]
        few = len(rows) <= FEW
        names = [textwrap.wrap(row.label, _LETTERS[few], break_on_hyphens=False) for row in rows]
        lines = max(map(len, names))
        places, height = line_places(kinds, (max(0.31, 0.17 * lines), max(0.2, 0.16 * lines)))
        roomy = few and lines == 1
        figure = new_figure(4.4, 0.85 + height)
        grid = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axes, (title, measure, own, scale) in zip(grid, panels, strict=True):
            for place, row in zip(places, rows, strict=True):
                _line(axes, place, row, rows, measure, own, scale)
            if own is _energy_interval:
                _frozen_lines(axes, rows, places, measure)
            axes.set_xlabel(title, fontsize=8.5 if roomy else 7)
            axes.xaxis.set_major_locator(MaxNLocator(4 if roomy else 3))
            name_lines(axes, places, ["\n".join(name) for name in names], kinds, named=axes is grid[0])
        return figure

    return Chart("headline", _title(rows, panels), f"{words.score} and E₀ on the target, a line a method", draw)


def _title(rows: Sequence[Row], panels: Sequence[tuple[str, Measure, _Own, float]]) -> str:
    counts = {found.n for row in rows for _, measure, _, _ in panels if (found := row.spread(measure))}
    kinds = ["a faint dot is a run, the marker the mean"] if max(counts) > 1 else ["the marker is one run"]
    if max(counts) >= MIN_PAIRS:
        kinds.append(f"a thick bar its {LEVEL:.0%} t-interval (bars may overlap where paired differences are shown)")
    if 1 in counts:
        kinds.append(f"a thin bar the {LEVEL:.0%} interval over pictures of a single run, which says nothing of seeds")
    if any(row.method == FROZEN and row.spread(energy("0")) for row in rows):
        kinds.append("dashed: E₀ of the frozen network")
    return f"On the target: {'; '.join(kinds)}"


def _score_interval(run: Run) -> Interval | None:
    record = run.scores.get("target")
    return None if record is None else record.interval


def _energy_interval(run: Run) -> Interval | None:
    record = run.energy.get("target")
    return None if record is None else record.interval.get("0")


def _line(axes: Axes, place: float, row: Row, rows: Sequence[Row], measure: Measure, own: _Own, scale: float) -> None:
    found, style = row.spread(measure), style_of(row, rows)
    if found is None:
        return
    ends, width = found.interval, 2.6
    if found.n == 1:
        (run,) = (run for run in row.runs if measure(run) is not None)
        interval = own(run)
        ends, width = (interval.low, interval.high) if interval else None, 1.0
    else:
        values = [scale * value for value in row.values(measure).values()]
        axes.scatter(values, np.full(len(values), place + 0.26), s=9, c=style.colour, alpha=0.5, linewidths=0)
    if ends is not None:
        axes.plot([scale * end for end in ends], [place, place], color=style.colour, linewidth=width)
    axes.plot(
        scale * found.mean, place, style.marker, color=style.colour, markersize=6.5, markeredgecolor=PAPER, zorder=3
    )


def _frozen_lines(axes: Axes, rows: Sequence[Row], places: Sequence[float], measure: Measure) -> None:
    """At the value of the frozen network, along the rows of its group."""
    for row in rows:
        if row.method == FROZEN and (found := row.spread(measure)):
            own = [place for place, other in zip(places, rows, strict=True) if other.group == row.group]
            ends = [min(own) - 0.5, max(own) + 0.5]
            axes.plot([found.mean] * 2, ends, color=INK, linewidth=1, alpha=0.6, dashes=(4, 3), zorder=0.9)
