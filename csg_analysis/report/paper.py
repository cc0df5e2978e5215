"""The paper's Table 1 (classification) beside ours. The published numbers are in ``published.csv``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from csg_analysis.report import format as fmt
from csg_analysis.report.cells import spread_cell
from csg_analysis.report.kinds import PAPER
from csg_analysis.report.rows import Row, energy, score
from csg_analysis.report.stats import rank_correlation
from csg_analysis.report.tables import Cell, Column, Table, Value
from csg_analysis.report.wording import CHOSEN_STEP
from csg_train.files import packaged_table

__all__ = ["NOT_PUBLISHED", "SOURCE", "Published", "our_protocol", "paper_correlation", "paper_table", "published"]

SOURCE = (
    "Chen, Yu, De Mello, Liu, Alvarez, Wang, Anandkumar: Contrastive Syn-to-Real Generalization, ICLR 2021, Table "
    "{number}, read from the image of the table in a public review"
)
"""Where a published table is from, by its number."""
NOT_PUBLISHED = "Rivals and combinations have no number in the paper, so they are not in this table."
_PROTOCOL = (
    "Published protocol: VisDA-17, 3-D renders to COCO crops (validation set), 12 classes, ResNet-101, 224 px; of "
    "CSG and ASG one run, the best epoch chosen on the target (by their code; of the others unknown)."
)
_CONVENTION = (
    "The paper defines E₀ with log 1/d, but its numbers agree with log 1/d² (the convention mhe), the mean over pairs, "
    "as in the code of MHE, which its author names as what computed them. Which layer and how many pictures were "
    "measured is not stated. Ours stand beside them in that convention."
)


@dataclass(frozen=True)
class Published:
    """One row of the paper's Table 1.

    Attributes:
        method: Name in the registry.
        label: As printed.
        energy: E_s by order, in the convention mhe; empty where the table has none.
        accuracy: Mean-per-class accuracy, as a share.
    """

    method: str
    label: str
    energy: Mapping[str, float]
    accuracy: float


def published() -> list[Published]:
    """The rows of the paper's table, in its order."""
    return [
        Published(
            method=line["method"],
            label=line["label"],
            energy={order: float(line[f"e{order}"]) for order in "012" if line[f"e{order}"]},
            accuracy=float(line["accuracy"]) / 100,
        )
        for line in packaged_table("csg_analysis.report", "published.csv")
    ]


def our_protocol(rows: Sequence[Row]) -> str:
    """How these runs differ from the published ones."""
    rules = {run.info.selection for row in rows for run in row.runs}
    step = " / ".join(text for rule, text in CHOSEN_STEP.items() if rule in rules)
    return (
        f"Ours: the pictures and settings in the notes of the methods' table, {step}, several runs. Compare the order "
        "of the methods, not the values."
    )


def paper_table(rows: Sequence[Row]) -> Table:
    """Published and measured numbers side by side, a line for each of the paper's methods; rows of classification.

    Whatever is added to a method makes it another, which has no published number and no line here.
    """
    cells, data = [], []
    known, own = published(), [row for row in rows if row.kind == PAPER]
    pairs: list[tuple[Published | None, Row | None]] = []
    for entry in known:
        pairs += [(entry, row) for row in own if row.method == entry.method] or [(entry, None)]
    pairs += [(None, row) for row in own if row.method not in {entry.method for entry in known}]
    for theirs, ours in pairs:
        cells.append([_name(theirs, ours), *_published_cells(theirs), *_our_cells(ours)])
        data.append(_data(theirs, ours))
    columns = [Column("Method", numeric=False)]
    for whose in ("published", "ours"):
        columns += [Column(f"E{sub}", whose) for sub in "₀₁₂"]
        columns.append(Column("Accuracy", f"%, {whose}"))
    notes = [f"Published: {SOURCE.format(number=1)}.", f"{_PROTOCOL} {our_protocol(rows)}", _CONVENTION]
    if len(own) < len(rows):
        notes.append(NOT_PUBLISHED)
    return Table("paper", "The paper's Table 1 (published) and our numbers", columns, cells, data, notes)


def _name(entry: Published | None, row: Row | None) -> Cell:
    if entry is None:
        assert row is not None
        return Cell(row.label, note="not in the paper's table")
    return Cell(entry.label, note=f"ours: {row.label}" if row else "not run here")


def _published_cells(entry: Published | None) -> list[Cell]:
    if entry is None:
        return [Cell(fmt.DASH)] * 4
    energies = [entry.energy.get(order) for order in "012"]
    return [
        *(Cell(fmt.fixed(value, 4), sort=value) for value in energies),
        Cell(fmt.percent(entry.accuracy, 2).removesuffix("0"), sort=100 * entry.accuracy),
    ]


def _our_cells(row: Row | None) -> list[Cell]:
    if row is None:
        return [Cell(fmt.DASH)] * 4
    return [*(spread_cell(row, energy(order), 3) for order in "012"), spread_cell(row, score(), 1, scale=100)]


def _data(entry: Published | None, row: Row | None) -> dict[str, Value]:
    data: dict[str, Value] = {"method": entry.method if entry else row.method if row else None}
    data["row"] = row.label if row else None
    for order in "012":
        data[f"published_e{order}"] = entry.energy.get(order) if entry else None
        data[f"ours_e{order}"] = found.mean if row and (found := row.spread(energy(order))) else None
    data["published_accuracy_percent"] = 100 * entry.accuracy if entry else None
    data["ours_accuracy_percent"] = 100 * found.mean if row and (found := row.spread(score())) else None
    return data


def paper_correlation() -> tuple[float | None, int]:
    """Spearman's rank correlation of E_0 and accuracy over the published methods, and their number."""
    entries = [entry for entry in published() if "0" in entry.energy]
    return rank_correlation([e.energy["0"] for e in entries], [e.accuracy for e in entries]), len(entries)
