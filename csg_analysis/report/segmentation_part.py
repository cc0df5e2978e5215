"""Gains by class, as tables of segmentation print them: IoU of each class and of their mean, and what a method adds."""

from collections.abc import Sequence
from dataclasses import replace

from csg_analysis.report.cells import difference_cell, difference_data, spread_cell
from csg_analysis.report.load import Run
from csg_analysis.report.part import Part
from csg_analysis.report.rows import BASELINE, Measure, Row, reference, score, to_baseline
from csg_analysis.report.stats import LEVEL
from csg_analysis.report.tables import Cell, Column, Table, Value
from csg_train.runs.records import SegmentationRecord

__all__ = ["segmentation_part"]


def segmentation_part(rows: Sequence[Row]) -> Part | None:
    """A table with a column a method; None without a record of segmentation, or without a baseline to gain over."""
    own = [row for row in rows if any(_record(run) for run in row.runs)]
    if len(own) < 2 or not any(row.method == BASELINE for row in own):
        return None
    return Part("class-gains", "Gains by class", "Gains by class", (_table(own),), ())


def _record(run: Run) -> SegmentationRecord | None:
    record = run.scores.get("target")
    return record if isinstance(record, SegmentationRecord) else None


def _iou(name: str) -> Measure:
    """Of one class on the target, as a share; None where it is neither true nor predicted."""

    def measure(run: Run) -> float | None:
        record = _record(run)
        return None if record is None else dict(zip(record.classes, record.per_class, strict=True)).get(name)

    return measure


def _table(rows: Sequence[Row]) -> Table:
    classes = dict.fromkeys(name for row in rows for run in row.runs if (own := _record(run)) for name in own.classes)
    measures = {"Mean IoU": score()} | {name: _iou(name) for name in classes}
    cells, data = [], list[dict[str, Value]]()
    for place, (name, measure) in enumerate(measures.items()):
        cells.append([Cell(name, sort=place, strong=not place), *(_cell(row, rows, measure) for row in rows)])
        for row in rows:
            found = row.spread(measure)
            line: dict[str, Value] = {"class": name if place else None, "row": row.label}
            line["iou_percent"] = 100 * found.mean if found else None
            data.append(line | difference_data("gain_points", to_baseline(row, rows, measure), 100))
    return Table(
        "class_gains",
        "IoU by class on the target, and the gain of each method",
        [Column("Class", numeric=False), *(Column(row.label, "%") for row in rows)],
        cells,
        data,
        [
            f"IoU in %, below it the gain over {BASELINE} in points, as the paper's Table 5 prints it for the mean: "
            "each method over its own baseline, of the same source and seed. A class that is neither true nor "
            "predicted in a run is in no mean of it.",
            f"Mean ± standard deviation over runs; the gain's simultaneous {LEVEL:.0%} interval is adjusted for the "
            "number of methods (Bonferroni), not for that of classes; bold where it excludes 0.",
        ],
    )


def _cell(row: Row, rows: Sequence[Row], measure: Measure) -> Cell:
    cell, found = spread_cell(row, measure, 1, scale=100), to_baseline(row, rows, measure)
    if found is None:
        return replace(cell, note="reference" if row is reference(rows, BASELINE, row.group) else cell.note)
    gain = difference_cell(found, 1, 100, good="higher")
    return replace(cell, note=f"{gain.text} {gain.note}".strip(), strong=gain.strong, tone=gain.tone)
