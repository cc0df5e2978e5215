"""`Part`: a section of the report that is there only when some run has the records for it, and what parts share."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from csg_analysis.report.chart import Chart
from csg_analysis.report.method_tables import name_cell, spread_cell, spread_data
from csg_analysis.report.rows import Measure, Row
from csg_analysis.report.tables import Cell, Table, Value
from csg_train.data.domains import SPLITS

__all__ = ["Part", "cells_of", "data_of", "records_of", "span", "splits_of"]


@dataclass(frozen=True)
class Part:
    """Tables and charts under one heading.

    Attributes:
        id: Anchor on the page.
        label: In the list of contents.
        heading: Of the section.
        tables: Shown first.
        charts: Shown then.
    """

    id: str
    label: str
    heading: str
    tables: tuple[Table, ...]
    charts: tuple[Chart, ...]


def records_of(rows: Sequence[Row], kind: str, split: str) -> list[Any]:
    """The records of one kind (a field of `Run`) on one split."""
    found = (getattr(run, kind).get(split) for row in rows for run in row.runs)
    return [record for record in found if record is not None]


def splits_of(rows: Sequence[Row], kind: str) -> list[str]:
    """The splits on which some run has such a record, the target first."""
    return [split for split in reversed(SPLITS) if records_of(rows, kind, split)]


def cells_of(row: Row, rows: Sequence[Row], measures: Mapping[str, Measure], digits: Mapping[str, int]) -> list[Cell]:
    """Heading, number of runs and the mean of every measure."""
    return [
        name_cell(row, rows),
        Cell(str(len(row.runs)), sort=len(row.runs)),
        *(spread_cell(row, measure, digits[field], interval=True) for field, measure in measures.items()),
    ]


def data_of(row: Row, measures: Mapping[str, Measure]) -> dict[str, Value]:
    """The same as flat fields."""
    data: dict[str, Value] = {"method": row.method, "row": row.label, "group": row.group, "runs": len(row.runs)}
    for field, measure in measures.items():
        data |= spread_data(field, row.spread(measure))
    return data


def span(counts: Sequence[int]) -> str:
    """``5`` or ``5 to 7``."""
    return " to ".join(map(str, sorted({min(counts), max(counts)})))
