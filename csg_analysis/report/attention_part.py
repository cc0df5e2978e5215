"""Attention in numbers: how much of it lies on the object, and whether the score follows it."""

from collections.abc import Sequence

import numpy as np
from matplotlib.artist import Artist
from matplotlib.figure import Figure

from csg_analysis.report.chart import Chart, add_legend, clean, new_figure
from csg_analysis.report.load import Run
from csg_analysis.report.part import STATISTICS, Part, cells_of, data_of, records_of, span, splits_of
from csg_analysis.report.rows import Measure, Row
from csg_analysis.report.style import style_of
from csg_analysis.report.tables import Column, Table
from csg_analysis.report.wording import explained_class, input_size
from csg_train.runs.records import AttentionScores

__all__ = ["attention_part"]

_COLUMNS = {
    "share": Column("On the object", "share of the map"),
    "area": Column("Object", "share of the picture"),
    "iou": Column("IoU", "map and object"),
    "deletion": Column("Deletion", "↓ lower is better"),
    "insertion": Column("Insertion", "↑ higher is better"),
    "flat": Column("Flat maps", "pictures"),
}
"""By field of the record; what is better is what `CurveScores` says is."""
_MOVED = {"deletion": "removed", "insertion": "shown"}


def attention_part(rows: Sequence[Row]) -> Part | None:
    """A table a split, and the curves of the target; None without records of ``csg-analyze attention``."""
    tables = tuple(_table(rows, split) for split in splits_of(rows, "attended"))
    chart = _removal_chart(rows)
    return Part("attention", "Attention", "Attention in numbers", tables, (chart,) if chart else ()) if tables else None


def _measure(field: str, split: str) -> Measure:
    def measure(run: Run) -> float | None:
        record = run.attended.get(split)
        holders = () if record is None else (record, record.overlap, record.curves)
        return next((float(getattr(holder, field)) for holder in holders if hasattr(holder, field)), None)

    return measure


def _table(rows: Sequence[Row], split: str) -> Table:
    measures = {field: _measure(field, split) for field in _COLUMNS}
    kept = {field: measure for field, measure in measures.items() if any(row.values(measure) for row in rows)}
    digits = {field: 1 if field == "flat" else 3 for field in kept}
    return Table(
        name=f"attention_{split}",
        title=f"Measures of GradCAM maps, {split} pictures, by method",
        columns=[Column("Method", numeric=False), Column("Runs"), *(_COLUMNS[field] for field in kept)],
        rows=[cells_of(row, rows, kept, digits) for row in rows],
        data=[data_of(row, rows, kept) for row in rows],
        notes=_notes(records_of(rows, "attended", split)),
    )


def _notes(records: Sequence[AttentionScores]) -> list[str]:
    shown = {
        f"GradCAM of {record.layer} for {explained_class(record.explained)}; {record.data.name}, {record.data.count} "
        f"pictures ({input_size(record.data)})."
        for record in records
    }
    overlaps = [record.overlap for record in records if record.overlap is not None]
    curves = [record.curves for record in records if record.curves is not None]
    lines = {f"Overlap with the object: {one.definition}." for one in overlaps}
    lines |= {
        f"Deletion and insertion: {one.definition}; {one.steps} steps; deletion ends at {one.deletion_baseline}, "
        f"insertion starts from {one.insertion_baseline}."
        for one in curves
    }
    counted = [("overlap", [one.count for one in overlaps]), ("curves", [one.count for one in curves])]
    counts = "; ".join(f"{name} of {span(found)} pictures a run" for name, found in counted if found)
    return [
        *sorted(shown),
        *sorted(lines),
        f"A flat map is zero everywhere and counts in no mean{f' ({counts})' if counts else ''}. More attention on the "
        "object than the object's share of the picture means that the map prefers it.",
        STATISTICS,
    ]


def _removal_chart(rows: Sequence[Row]) -> Chart | None:
    """Mean curves of each row on the target; None where no run has them."""
    found = {
        row.position: curves
        for row in rows
        if (curves := [r.curves for r in records_of([row], "attended", "target") if r.curves is not None])
    }
    if not found:
        return None

    def draw() -> Figure:
        figure = new_figure(8.4, 3.2)
        handles: dict[str, Artist] = {}
        for axes, name in zip(figure.subplots(1, 2, sharey=True), ("deletion", "insertion"), strict=True):
            for row in (row for row in rows if row.position in found):
                mean_S = np.mean([getattr(curves, f"{name}_curve") for curves in found[row.position]], axis=0)
                share_S = np.linspace(0, 100, len(mean_S))
                (handles[row.label],) = axes.plot(share_S, mean_S, color=style_of(row, rows).colour)
            axes.set(title=name.capitalize(), xlabel=f"% of the pixels {_MOVED[name]}, most attended first")
            axes.set_ylim(bottom=0)
            clean(axes)
        figure.axes[0].set_ylabel("probability of the explained class")
        add_legend(figure, list(handles.values()), list(handles))
        return figure

    title = "Deletion (lower is better) and insertion (higher is better) on the target, mean over runs"
    return Chart("removal", title, "Probability of the explained class while pixels leave or enter", draw)
