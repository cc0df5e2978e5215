"""`Part`: a section of the report that is there only when some run has the records for it, and what parts share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from csg_analysis.report import format as fmt
from csg_analysis.report.cells import difference_data, difference_note, name_cell, spread_cell, spread_data
from csg_analysis.report.chart import Chart
from csg_analysis.report.rows import Measure, Row, to_baseline
from csg_analysis.report.stats import LEVEL, MIN_PAIRS
from csg_analysis.report.tables import Cell, Table, Value
from csg_train.splits import SPLITS

__all__ = ["STATISTICS", "Part", "cells_of", "data_of", "records_of", "span", "splits_of"]

STATISTICS = (
    f"Mean ± standard deviation over runs, below it the {LEVEL:.0%} t-interval; Δ: mean of the paired differences to "
    f"the baseline over equal (source, seed), with its simultaneous {LEVEL:.0%} interval, shown when it excludes 0: "
    "adjusted for the number of methods (Bonferroni), not for that of measures. Intervals from "
    f"{MIN_PAIRS} runs or pairs on."
)


@dataclass(frozen=True)
class Part:
    """Tables and charts under one heading.

    Attributes:
        id: Anchor on the page.
        label: In the list of contents.
        heading: Of the section.
        tables: Shown first; of one without columns the files alone.
        charts: Shown then.
        sentences: What the numbers say, before all else.
    """

    id: str
    label: str
    heading: str
    tables: tuple[Table, ...]
    charts: tuple[Chart, ...]
    sentences: tuple[str, ...] = ()


def records_of(rows: Sequence[Row], kind: str, split: str) -> list[Any]:
    """The records of one kind (a field of `Run`) on one split."""
    found = (getattr(run, kind).get(split) for row in rows for run in row.runs)
    return [record for record in found if record is not None]


def splits_of(rows: Sequence[Row], kind: str) -> list[str]:
    """The splits on which some run has such a record, the target first."""
    return [split for split in reversed(SPLITS) if records_of(rows, kind, split)]


def cells_of(row: Row, rows: Sequence[Row], measures: Mapping[str, Measure], digits: Mapping[str, int]) -> list[Cell]:
    """Heading, number of runs and the mean of every measure, below it the difference from the baseline."""
    return [
        name_cell(row, rows),
        Cell(str(len(row.runs)), sort=len(row.runs)),
        *(_measured(row, rows, measure, digits[field]) for field, measure in measures.items()),
    ]


def _measured(row: Row, rows: Sequence[Row], measure: Measure, digits: int) -> Cell:
    cell, found = spread_cell(row, measure, digits, interval=True), to_baseline(row, rows, measure)
    if found is None or found.simultaneous == (0, 0):  # nothing of the method, as the object's area
        return cell
    line = f"Δ {fmt.difference(found, digits)} {difference_note(found, digits)}"
    return replace(cell, note=f"{cell.note}\n{line}".strip())


def data_of(row: Row, rows: Sequence[Row], measures: Mapping[str, Measure]) -> dict[str, Value]:
    """The same as flat fields."""
    data: dict[str, Value] = {"method": row.method, "row": row.label, "group": row.group, "runs": len(row.runs)}
    for field, measure in measures.items():
        data |= spread_data(field, row.spread(measure))
        data |= difference_data(f"{field}_minus_baseline", to_baseline(row, rows, measure), 1)
    return data


def span(counts: Sequence[int]) -> str:
    """``5`` or ``5 to 7``."""
    return " to ".join(map(str, sorted({min(counts), max(counts)})))
