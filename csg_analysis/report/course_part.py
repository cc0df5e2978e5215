"""The course of training: energy and score of the snapshots of each run, against the step."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from csg_analysis.drawing.svg import INK, PAPER
from csg_analysis.report import format as fmt
from csg_analysis.report.cells import difference_cell, difference_data, name_cell, spread_cell, spread_data
from csg_analysis.report.chart import Chart, add_legend, clean, new_figure
from csg_analysis.report.course import Quantity, course_sentences, energy_course
from csg_analysis.report.part import Part, span
from csg_analysis.report.rows import Row, score, wording
from csg_analysis.report.stats import LEVEL, MIN_PAIRS
from csg_analysis.report.style import style_of
from csg_analysis.report.tables import Cell, Column, Table, Value
from csg_analysis.report.wording import capital, input_size
from csg_train.splits import SPLITS

__all__ = ["course_part"]


def course_part(rows: Sequence[Row]) -> Part | None:
    """A chart and a table a split; None without records of snapshots (``train.snapshots``)."""
    found = {split: own for split in reversed(SPLITS) if (own := _quantities(rows, split))}
    if not found:
        return None
    tables = [make(rows, split, own) for split, own in found.items() for make in (_table, _step_table)]
    charts = [_chart(rows, split, own) for split, own in found.items()]
    said = [course_sentences(rows, split, own[0]) for split, own in found.items() if own[0].field == "e0_mhe"]
    return Part("course", "Course", "The course of training", tuple(tables), tuple(charts), tuple(filter(None, said)))


def _quantities(rows: Sequence[Row], split: str) -> list[Quantity]:
    """Those of both that some run has along its training, energy first."""
    words = wording(rows)
    both = (
        energy_course(split),
        Quantity(
            field=words.field,
            name=words.short,
            hint=words.unit,
            axis=f"{words.score}, %",
            good="higher",
            measure=score(split),
            digits=1,
            scale=100,
        ),
    )
    return [quantity for quantity in both if any(quantity.steps(row) for row in rows)]


def _runs(row: Row, quantities: Sequence[Quantity]) -> int:
    return sum(any(quantity.measured(run) for quantity in quantities) for run in row.runs)


def _shown(rows: Sequence[Row], quantities: Sequence[Quantity]) -> list[Row]:
    return [row for row in rows if any(quantity.steps(row) for quantity in quantities)]


def _table(rows: Sequence[Row], split: str, quantities: Sequence[Quantity]) -> Table:
    columns, shown = [Column("Method", numeric=False), Column("Runs")], _shown(rows, quantities)
    for quantity in quantities:
        places = ("first", "highest", "lowest", "last") if quantity.good == "lower" else ("first", "last")
        columns += [Column(f"{capital(place)} {quantity.name}", quantity.hint) for place in places]
        columns += [Column(f"Δ {quantity.name}", f"last {fmt.MINUS} first")]
    return Table(
        name=f"course_{split}",
        title=f"Energy in the course of training, {split} pictures"
        if len(quantities) == 1
        else f"Energy and {wording(rows).short} in the course of training, {split} pictures",
        columns=columns,
        rows=[_cells(row, rows, quantities) for row in shown],
        data=[_data(row, rows, quantities) for row in shown],
        notes=_notes(rows, split, quantities),
    )


def _places(row: Row, quantity: Quantity) -> dict[str, int | None]:
    """First and last step, and of the energy those of its extreme means, which nobody chose a network by."""
    steps = quantity.steps(row)
    between = {"highest": max, "lowest": min} if quantity.good == "lower" else {}
    extremes = {place: quantity.extreme(row, which) for place, which in between.items()}
    return {"first": min(steps, default=None)} | extremes | {"last": max(steps, default=None)}


def _cells(row: Row, rows: Sequence[Row], quantities: Sequence[Quantity]) -> list[Cell]:
    count = _runs(row, quantities)
    cells = [name_cell(row, rows), Cell(str(count), sort=count)]
    for quantity in quantities:
        digits, scale = quantity.digits, quantity.scale
        for step in _places(row, quantity).values():
            if step is None:
                cells.append(Cell(fmt.DASH))
                continue
            cell = spread_cell(row, quantity.at(step), digits, scale=scale, interval=True)
            cells.append(replace(cell, note=f"{cell.note}\nstep {step}".strip()))
        cells.append(difference_cell(quantity.change(row, rows), digits, scale, good=quantity.good))
    return cells


def _data(row: Row, rows: Sequence[Row], quantities: Sequence[Quantity]) -> dict[str, Value]:
    data: dict[str, Value] = {"method": row.method, "row": row.label, "group": row.group}
    data["runs"] = _runs(row, quantities)
    for quantity in quantities:
        for place, step in _places(row, quantity).items():
            found = None if step is None else row.spread(quantity.at(step))
            data[f"{quantity.field}_{place}_step"] = step
            data |= spread_data(f"{quantity.field}_{place}", found, quantity.scale)
        data |= difference_data(f"{quantity.field}_change", quantity.change(row, rows), quantity.scale)
    return data


def _step_table(rows: Sequence[Row], split: str, quantities: Sequence[Quantity]) -> Table:
    """The points of the chart; data only."""
    data: list[dict[str, Value]] = []
    for row in rows:
        for step in sorted({step for quantity in quantities for step in quantity.steps(row)}):
            values: dict[str, Value] = {"method": row.method, "row": row.label, "group": row.group, "step": step}
            for quantity in quantities:
                found = row.spread(quantity.at(step)) if step in quantity.steps(row) else None
                values |= spread_data(quantity.field, found, quantity.scale)
            data.append(values)
    title = f"Every step of the course, {split} pictures"
    return Table(f"course_{split}_steps", title, [], [], data, _notes(rows, split, quantities))


def _notes(rows: Sequence[Row], split: str, quantities: Sequence[Quantity]) -> list[str]:
    snapshots = [snapshot for row in rows for run in row.runs for snapshot in run.along.values()]
    energies = [snapshot.energy[split] for snapshot in snapshots if split in snapshot.energy]
    data = [record.data for snapshot in snapshots for record in snapshot.measured if record.data.split == split]
    pictures = sorted({f"{own.name}, {own.count} pictures ({input_size(own)})" for own in data})
    spaces = sorted({f"{record.pool} pool of {record.layer}, {record.dim} dimensions" for record in energies})
    rules = sorted({record.coincident_rule for record in energies})
    averaged = [row.label for row in rows if any(run.info.averaged and run.along for run in row.runs)]
    left_out = sum(
        len(quantity.measured(run) - set(quantity.steps(row)))
        for quantity in quantities
        for row in rows
        for run in row.runs
    )
    return [
        *(
            f"E₀: mean over pairs of distinct {split} pictures, convention mhe, lower = more diverse. "
            f"{capital(space)}; coincident pairs: rule “{' / '.join(rules)}”."
            for space in spaces
        ),
        *([f"{capital(wording(rows).score)} in %."] if len(quantities) > 1 else []),
        f"Pictures: {' / '.join(pictures)}.",
        "Snapshots of train.snapshots, chosen by nobody; step 0 is the start, before training. First and last are of "
        "the steps measured in all of a method's runs that have snapshots; highest and lowest are those of the means.",
        *([f"A snapshot of {', '.join(averaged)} has the weights of its step, not an average."] if averaged else []),
        f"Mean ± standard deviation over runs, below it the {LEVEL:.0%} t-interval; Δ: mean over runs of the last "
        f"step's value minus the first's, with its simultaneous {LEVEL:.0%} interval, adjusted for the number of "
        f"methods (Bonferroni), “shown” when it excludes 0. Intervals from {MIN_PAIRS} runs on.",
        *([f"Left out, measured in some runs of a method only: {left_out} numbers."] if left_out else []),
    ]


def _chart(rows: Sequence[Row], split: str, quantities: Sequence[Quantity]) -> Chart:
    counts = sorted({_runs(row, quantities) for row in _shown(rows, quantities)})

    def draw() -> Figure:
        figure = new_figure(8.4, 3.7)
        handles: dict[str, Artist] = {}
        for axes, quantity in zip(figure.subplots(1, len(quantities), squeeze=False)[0], quantities, strict=True):
            if quantity.good == "lower":
                _mark_start(axes, rows, quantity, handles)
            for row in rows:
                _line(axes, row, rows, quantity, handles)
            axes.set(xlabel="training step", ylabel=quantity.axis)
            axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            clean(axes)
        add_legend(figure, list(handles.values()), list(handles))
        return figure

    band = ", band: ± standard deviation" if counts[-1] > 1 else ""
    title = f"The course of training on {split} pictures: mean over runs (n = {span(counts)}){band}"
    what = " and ".join(quantity.axis for quantity in quantities)
    return Chart(f"course_{split}", title, f"{what} against the training step, a line a method", draw)


def _line(axes: Axes, row: Row, rows: Sequence[Row], quantity: Quantity, handles: dict[str, Artist]) -> None:
    steps = quantity.steps(row)
    spreads = [found for step in steps if (found := row.spread(quantity.at(step))) is not None]
    if not spreads:
        return
    style = style_of(row, rows)
    means = quantity.scale * np.array([found.mean for found in spreads])
    sds = quantity.scale * np.array([found.sd or 0.0 for found in spreads])
    if sds.any():
        axes.fill_between(steps, means - sds, means + sds, color=style.colour, alpha=0.16, linewidth=0)
    (line,) = axes.plot(
        steps, means, f"-{style.marker}", color=style.colour, markeredgecolor=PAPER, markersize=5.5, linewidth=1.7
    )
    handles.setdefault(row.label, line)


def _mark_start(axes: Axes, rows: Sequence[Row], quantity: Quantity, handles: dict[str, Artist]) -> None:
    """A dashed line at the energy of step 0; one for each start where methods begin apart."""
    starts = sorted(found.mean for row in rows if 0 in quantity.steps(row) and (found := row.spread(quantity.at(0))))
    apart = [start for before, start in pairwise([-np.inf, *starts]) if start - before > 5e-4]
    for start in apart:
        handles["frozen start"] = axes.axhline(start, color=INK, linewidth=1, alpha=0.6, dashes=(4, 3))
