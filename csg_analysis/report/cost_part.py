"""What a step of each method costs beside what the method is worth; times of different machines are never compared."""

import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from csg_analysis.drawing.svg import INK, PAPER
from csg_analysis.report import format as fmt
from csg_analysis.report.cells import name_cell, spread_cell, spread_data
from csg_analysis.report.chart import Chart, add_legend, clean, new_figure
from csg_analysis.report.part import Part, span
from csg_analysis.report.rows import BASELINE, Row, reference, score, wording
from csg_analysis.report.stats import LEVEL
from csg_analysis.report.style import style_of
from csg_analysis.report.tables import Cell, Column, Table, Value
from csg_analysis.report.wording import capital
from csg_train.runs.cost import Cost

__all__ = ["cost_part", "step_cell", "timed"]

_MOST_PANELS = 2
_MEBIBYTE = 2**20


@dataclass(frozen=True)
class _Timed:
    """A row's runs on one machine.

    Attributes:
        row: What was run.
        machine: See `Cost.machine`.
        costs: Of its runs there, one or more.
        baseline_ms: Step time of the baseline there; None where it was not timed.
    """

    row: Row
    machine: str
    costs: tuple[Cost, ...]
    baseline_ms: float | None

    @property
    def step_ms(self) -> float:
        return statistics.median(cost.step_ms for cost in self.costs)

    @property
    def peak_bytes(self) -> float | None:
        found = [cost.peak_bytes for cost in self.costs if cost.peak_bytes is not None]
        return statistics.median(found) if found else None

    @property
    def factor(self) -> float | None:
        """Step time divided by the baseline's."""
        return None if self.baseline_ms is None else self.step_ms / self.baseline_ms


def timed(rows: Sequence[Row]) -> bool:
    """Whether any run says what it cost."""
    return any(run.cost for row in rows for run in row.runs)


def _machines(rows: Sequence[Row]) -> list[str]:
    """Where runs were timed, those of most runs first."""
    counts = Counter(run.cost.machine for row in rows for run in row.runs if run.cost)
    return [machine for machine, _ in sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))]


def _costs(row: Row, machine: str) -> tuple[Cost, ...]:
    return tuple(run.cost for run in row.runs if run.cost and run.cost.machine == machine)


def _on(machine: str, rows: Sequence[Row]) -> list[_Timed]:
    found = []
    for row in rows:
        base = reference(rows, BASELINE, row.group)
        own, theirs = _costs(row, machine), _costs(base, machine) if base else ()
        if own:
            baseline_ms = statistics.median(cost.step_ms for cost in theirs) if theirs else None
            found.append(_Timed(row, machine, own, baseline_ms))
    return found


def step_cell(row: Row, rows: Sequence[Row]) -> Cell:
    """The step time as a multiple of the baseline's, on the machine of most runs."""
    found = next((one for one in _on(_machines(rows)[0], rows) if one.row is row), None)
    return (
        Cell(fmt.DASH) if found is None or found.factor is None else Cell(fmt.fixed(found.factor, 2), sort=found.factor)
    )


def cost_part(rows: Sequence[Row]) -> Part | None:
    """A table, and the score over the step time; None without runs that say what they cost."""
    if not timed(rows):
        return None
    entries = [entry for machine in _machines(rows) for entry in _on(machine, rows)]
    shown = [entry for entry in entries if entry.factor is not None and entry.row.spread(score())]
    charts = (_chart(shown, rows),) if shown else ()
    return Part("cost", "Cost", f"Cost and {wording(rows).short}", (_table(entries, rows),), charts)


def _table(entries: Sequence[_Timed], rows: Sequence[Row]) -> Table:
    words = wording(rows)
    columns = [
        *(Column("Method", numeric=False), Column("Machine", numeric=False), Column("Runs", "timed")),
        *(Column("Step", "ms, median"), Column("Step", "baseline = 1"), Column("Peak memory", "MiB, median")),
        Column(capital(words.short), words.unit),
    ]
    return Table(
        name="cost",
        title=f"What a training step costs, and {words.short} on the target",
        columns=columns,
        rows=[_cells(entry, rows) for entry in entries],
        data=[_data(entry, words.field) for entry in entries],
        notes=_notes(entries),
    )


def _cells(entry: _Timed, rows: Sequence[Row]) -> list[Cell]:
    times, peak = [cost.step_ms for cost in entry.costs], entry.peak_bytes
    between = f"{fmt.fixed(min(times), 0)} to {fmt.fixed(max(times), 0)}" if len(times) > 1 else ""
    return [
        name_cell(entry.row, rows),
        Cell(entry.machine),
        Cell(str(len(times)), sort=len(times)),
        Cell(fmt.fixed(entry.step_ms, 0 if entry.step_ms >= 100 else 1), sort=entry.step_ms, note=between),
        Cell(fmt.fixed(entry.factor, 2), sort=entry.factor),
        Cell(fmt.DASH) if peak is None else Cell(fmt.fixed(peak / _MEBIBYTE, 0), sort=peak),
        spread_cell(entry.row, score(), 1, scale=100, interval=True),
    ]


def _data(entry: _Timed, field: str) -> dict[str, Value]:
    data: dict[str, Value] = {"method": entry.row.method, "row": entry.row.label, "kind": entry.row.kind}
    data |= {"machine": entry.machine, "runs": len(entry.costs), "steps": sum(cost.steps for cost in entry.costs)}
    data |= {"step_ms": entry.step_ms, "step_to_baseline": entry.factor, "peak_bytes": entry.peak_bytes}
    return data | spread_data(field, entry.row.spread(score()), 100)


def _notes(entries: Sequence[_Timed]) -> list[str]:
    costs = [cost for entry in entries for cost in entry.costs]
    counted = span([cost.steps for cost in costs])
    return [
        f"Step of a run: {' / '.join(sorted({cost.definition for cost in costs}))} ({counted} steps a run). Of a row "
        "the median over its timed runs, below it the shortest and longest. Other work on the machine makes steps "
        "longer.",
        f"Peak memory: {' / '.join(sorted({cost.memory for cost in costs}))}.",
        "Baseline = 1: divided by the baseline's step on the same machine; runs of different machines are not "
        "compared. Scores are of all runs of a row, as in the table of methods.",
    ]


def _chart(entries: Sequence[_Timed], rows: Sequence[Row]) -> Chart:
    words = wording(rows)
    machines = list(dict.fromkeys(entry.machine for entry in entries))[:_MOST_PANELS]

    def draw() -> Figure:
        figure = new_figure(8.4, 3.9)
        grid = figure.subplots(1, len(machines), sharey=True, squeeze=False)[0]
        handles = {}
        for axes, machine in zip(grid, machines, strict=True):
            for entry in (entry for entry in entries if entry.machine == machine):
                handles[entry.row.label] = _point(axes, entry, rows)
            axes.axvline(1, color=INK, linewidth=0.9, alpha=0.55, zorder=0.9)
            axes.set(title=machine, xlabel="step time, baseline = 1")
            axes.margins(x=0.08, y=0.08)
            clean(axes)
        grid[0].set_ylabel(f"{words.score}, %")
        add_legend(figure, list(handles.values()), list(handles))
        return figure

    title = f"{capital(words.short)} on the target against step time; bars: {LEVEL:.0%} t-interval of the mean"
    if len({entry.machine for entry in entries}) > len(machines):
        title += f"; the {_MOST_PANELS} machines of most runs"
    return Chart("cost", title, f"{words.score} of each method over its step time, the baseline's being 1", draw)


def _point(axes: Axes, entry: _Timed, rows: Sequence[Row]) -> Artist:
    found, style = entry.row.spread(score()), style_of(entry.row, rows)
    assert found is not None
    assert entry.factor is not None
    if found.interval is not None:
        axes.plot([entry.factor] * 2, [100 * end for end in found.interval], color=style.colour, linewidth=1.6)
    return axes.scatter(
        [entry.factor], [100 * found.mean], c=style.colour, marker=style.marker, s=52, edgecolors=PAPER, zorder=3
    )
