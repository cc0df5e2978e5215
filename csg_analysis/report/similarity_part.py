"""Beside the starting weights: CKA stage by stage, and alignment, uniformity, effective rank and spread."""

import math
from collections.abc import Sequence
from typing import Literal

from matplotlib.artist import Artist
from matplotlib.figure import Figure

from csg_analysis.drawing.svg import PAPER
from csg_analysis.report import format as fmt
from csg_analysis.report.chart import Chart, add_legend, clean, new_figure
from csg_analysis.report.load import Run
from csg_analysis.report.part import STATISTICS, Part, cells_of, data_of, records_of, span, splits_of
from csg_analysis.report.rows import Measure, Row
from csg_analysis.report.style import style_of
from csg_analysis.report.tables import Cell, Column, Table, Value
from csg_analysis.report.wording import capital, input_size
from csg_analysis.similarity.metrics.table import METRICS
from csg_train.runs.records import SimilarityRecord

__all__ = ["similarity_part"]

_BETTER = {True: "↑ higher is better", False: "↓ lower is better", None: ""}
_DIGITS = {"effective_rank": 1}
_START = "starting weights"


def similarity_part(rows: Sequence[Row]) -> Part | None:
    """A table a split, and CKA on the target as a chart; None without records of ``csg-analyze compare``."""
    tables = tuple(_table(rows, split) for split in splits_of(rows, "similar"))
    charts = (_cka_chart(rows),) if records_of(rows, "similar", "target") else ()
    return Part("similarity", "Similarity", "Compared with the starting weights", tables, charts) if tables else None


def _stages(records: Sequence[SimilarityRecord]) -> list[str]:
    return list(dict.fromkeys(stage for record in records for stage in record.cka))


def _names(records: Sequence[SimilarityRecord]) -> list[str]:
    return [name for name in METRICS if any(name in record.measures for record in records)]


def _value(field: Literal["cka", "measures"], name: str, split: str) -> Measure:
    """One entry of one of the record's mappings."""

    def measure(run: Run) -> float | None:
        found: dict[str, float] = getattr(run.similar.get(split), field, {})
        return found.get(name)

    return measure


def _table(rows: Sequence[Row], split: str) -> Table:
    records = records_of(rows, "similar", split)
    stages, names = _stages(records), _names(records)
    measures = {f"cka_{stage}": _value("cka", stage, split) for stage in stages}
    measures |= {_field(name): _value("measures", name, split) for name in names}
    digits = {field: _DIGITS.get(field, 3) for field in measures}
    columns = [Column("Method", numeric=False), Column("Runs")]
    columns += [Column(f"CKA {stage}", _BETTER[METRICS["cka"].higher_is_better]) for stage in stages]
    columns += [Column(capital(name), _BETTER[METRICS[name].higher_is_better]) for name in names]
    before = {row.group: _before([other for other in rows if other.group == row.group], split, names) for row in rows}
    return Table(
        name=f"similarity_{split}",
        title=f"Features compared with those of the starting weights, {split} pictures, by method",
        columns=columns,
        rows=[
            *(_start_cells(group, values, stages) for group, values in before.items()),
            *(cells_of(row, rows, measures, digits) for row in rows),
        ],
        data=[
            *(_start_data(group, values) for group, values in before.items()),
            *(data_of(row, rows, measures) for row in rows),
        ],
        notes=_notes(records, names),
    )


def _before(rows: Sequence[Row], split: str, names: Sequence[str]) -> dict[str, float | None]:
    """Measures of the starting weights, mean over the runs, which mostly share them."""
    records = records_of(rows, "similar", split)
    found = {name: [r.start_measures[name] for r in records if name in r.start_measures] for name in names}
    return {name: math.fsum(values) / len(values) if values else None for name, values in found.items()}


def _start_cells(group: str, values: dict[str, float | None], stages: Sequence[str]) -> list[Cell]:
    own = [Cell(fmt.fixed(value, _DIGITS.get(_field(name), 3)), sort=value) for name, value in values.items()]
    return [Cell(_start_label(group), note="before training"), Cell(fmt.DASH), *([Cell(fmt.DASH)] * len(stages)), *own]


def _start_data(group: str, values: dict[str, float | None]) -> dict[str, Value]:
    return {"method": None, "row": _start_label(group), "group": group} | {
        _field(name): value for name, value in values.items()
    }


def _field(name: str) -> str:
    return name.replace(" ", "_")


def _start_label(group: str) -> str:
    return f"{_START} [{group}]" if group else _START


def _notes(records: Sequence[SimilarityRecord], names: Sequence[str]) -> list[str]:
    shown = {
        f"{capital(record.pool)} pool: of every stage for CKA, of {record.layer} ({record.dim} dimensions) for the "
        f"other measures; {record.data.name}, {record.data.count} pictures ({input_size(record.data)})."
        for record in records
    }
    few = {record.data.count for record in records if record.data.count < record.dim}
    lines = dict.fromkeys(
        f"{'CKA' if name == 'cka' else capital(name)}: {record.definitions[name]}."
        for name in ("cka", *names)
        for record in records
        if name in record.definitions
    )
    starts = ", ".join(sorted({record.start[:12] for record in records}))
    return [
        *sorted(shown),
        *lines,
        *([f"CKA is biased upwards here: {span(sorted(few))} pictures are fewer than the dimensions."] if few else []),
        f"Starting weights: {starts}. An arrow says which way is better, where one is.",
        STATISTICS,
    ]


def _cka_chart(rows: Sequence[Row]) -> Chart:
    stages = _stages(records_of(rows, "similar", "target"))

    def draw() -> Figure:
        figure = new_figure(8.4, 3.6)
        axes = figure.subplots()
        handles: dict[str, Artist] = {}
        for row in rows:
            style, means = style_of(row, rows), [row.spread(_value("cka", stage, "target")) for stage in stages]
            points = [(place, mean.mean) for place, mean in enumerate(means) if mean is not None]
            if not points:
                continue
            for place, stage in enumerate(stages):
                runs = list(row.values(_value("cka", stage, "target")).values())
                axes.plot([place] * len(runs), runs, ".", color=style.colour, markersize=3.5, alpha=0.5)
            (handles[row.label],) = axes.plot(
                *zip(*points, strict=True),
                f"-{style.marker}",
                color=style.colour,
                markeredgecolor=PAPER,
                markersize=6.5,
            )
        axes.set_xticks(range(len(stages)), stages)
        axes.set(ylabel="CKA with the starting weights", ylim=(min(0.98, axes.get_ylim()[0]), 1.01))
        clean(axes)
        add_legend(figure, list(handles.values()), list(handles))
        return figure

    title = "Similarity to the features of the starting weights (CKA), stage by stage, on the target"
    return Chart("cka", title, "CKA with the starting weights by stage, a line a method, a dot a run", draw)
