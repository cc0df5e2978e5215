"""Runs that stand beside the methods for scale (`Recipe.for_scale`): listed apart, compared with nothing."""

from collections.abc import Sequence

from csg_analysis.report.cells import spread_cell, spread_data
from csg_analysis.report.load import Run, repeated
from csg_analysis.report.method_tables import measures
from csg_analysis.report.rows import Row, energy, overall, score, title_of, wording
from csg_analysis.report.tables import Cell, Column, Table, Value
from csg_analysis.report.wording import capital
from csg_train.errors import UserError
from csg_train.runs.labels import row_labels

__all__ = ["scale_rows", "scale_table"]


def scale_rows(runs: Sequence[Run], *, first: int) -> list[Row]:
    """One row for each text of ``for_scale``, method and its configuration, counted from position ``first``.

    Raises:
        UserError: Two runs of a row have one source and seed.
    """
    if found := repeated(runs, lambda run: (run.for_scale, run.info.method, run.config, run.pair)):
        again, other = found
        raise UserError(f"{again.folder}: the same run for scale as {other.folder}; give only one of the two")
    groups: dict[tuple[str, str, str], list[Run]] = {}
    for run in sorted(runs, key=lambda run: (run.info.source, run.info.seed)):
        groups.setdefault((run.for_scale or "", run.info.method, run.config), []).append(run)
    infos = {key: own[0].info for key, own in groups.items()}
    labels = {text: row_labels({key: info for key, info in infos.items() if key[0] == text}) for text, *_ in groups}
    return [
        Row(f"{key[0]} ({labels[key[0]][key]})", title_of(key[1]), key[1], "", "", position, tuple(own))
        for position, (key, own) in enumerate(sorted(groups.items()), start=first)
    ]


def scale_table(rows: Sequence[Row]) -> Table:
    """Energies and scores on the target of the rows that are no methods."""
    words = wording(rows)
    return Table(
        name="scale",
        title=f"For scale: hyperspherical energy and {words.short} of other trainings on the same target",
        columns=[
            Column("What", numeric=False),
            Column("Source", numeric=False),
            Column("Runs"),
            Column("E₀", "mhe"),
            Column(capital(words.short), words.unit),
            Column("Overall", words.overall),
        ],
        rows=[
            [
                Cell(row.label, sort=row.position),
                Cell(_sources(row)),
                Cell(str(len(row.runs)), sort=len(row.runs)),
                spread_cell(row, energy("0"), 3, interval=True),
                spread_cell(row, score(), 1, scale=100, interval=True),
                spread_cell(row, overall, 1, scale=100),
            ]
            for row in rows
        ],
        data=[_data(row) for row in rows],
        notes=[
            "These rows are references, not methods, and are left out of all differences, ranks and the summary: they "
            "were trained on other data or from another start. What is measured, and on which target, is the same."
        ],
    )


def _sources(row: Row) -> str:
    return " / ".join(sorted({run.info.source for run in row.runs}))


def _data(row: Row) -> dict[str, Value]:
    data: dict[str, Value] = {"row": row.label, "method": row.method, "source": _sources(row), "runs": len(row.runs)}
    for name, (measure, scale) in measures(wording([row])).items():
        data |= spread_data(name, row.spread(measure), scale)
    return data
