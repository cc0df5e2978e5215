"""Where the features are apart: the energy of pairs of one class beside that of pairs of two classes."""

from collections.abc import Sequence

from csg_analysis.report.load import Run
from csg_analysis.report.part import STATISTICS, Part, cells_of, data_of, records_of, splits_of
from csg_analysis.report.rows import Measure, Row
from csg_analysis.report.tables import Column, Table
from csg_analysis.report.wording import input_size
from csg_train.runs.records import EnergyRecord

__all__ = ["class_pairs_part"]


def class_pairs_part(rows: Sequence[Row]) -> Part | None:
    """A table a split; None without labels, and of records of earlier versions, which do not part the pairs."""
    parted = {split: _parted(rows, split) for split in splits_of(rows, "energy")}
    tables = tuple(_table(rows, split, records) for split, records in parted.items() if records)
    return Part("class-pairs", "Within classes", "Within classes and between them", tables, ()) if tables else None


def _parted(rows: Sequence[Row], split: str) -> list[EnergyRecord]:
    return [record for record in records_of(rows, "energy", split) if record.within and record.between]


def _of(pairs: str, split: str) -> Measure:
    """E_0 of some pairs, ``within`` or ``between`` classes; none where it is infinite."""

    def measure(run: Run) -> float | None:
        found: dict[str, float | None] = getattr(run.energy.get(split), pairs, {})
        return found.get("0")

    return measure


def _table(rows: Sequence[Row], split: str, records: Sequence[EnergyRecord]) -> Table:
    measures = {f"e0_mhe_{pairs}": _of(pairs, split) for pairs in ("within", "between")}
    digits = dict.fromkeys(measures, 3)
    shown = {
        f"{record.pool.capitalize()} pool of {record.layer}, {record.dim} dimensions; {record.data.name}, "
        f"{record.data.count} pictures ({input_size(record.data)})."
        for record in records
    }
    return Table(
        name=f"class_pairs_{split}",
        title=f"Energy of pairs of one class and of two classes, {split} pictures, by method",
        columns=[
            Column("Method", numeric=False),
            Column("Runs"),
            Column("E₀ within classes", "mhe"),
            Column("E₀ between classes", "mhe"),
        ],
        rows=[cells_of(row, rows, measures, digits) for row in rows],
        data=[data_of(row, rows, measures) for row in rows],
        notes=[
            "Within: the mean over the pairs of pictures of one class, between: over those of two, by the pictures' "
            "labels; the energy of the other tables is the mean over both. Lower = more diverse. A network that pulls "
            "its classes apart and makes the pictures of each alike has low energy between and high energy within.",
            *sorted(shown),
            STATISTICS,
        ],
    )
