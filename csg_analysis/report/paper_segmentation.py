"""The paper's Table 5 (segmentation) beside ours. The published numbers are in ``published_segmentation.csv``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from csg_analysis.report import format as fmt
from csg_analysis.report.cells import spread_cell
from csg_analysis.report.kinds import PAPER
from csg_analysis.report.paper import NOT_PUBLISHED, SOURCE, our_protocol
from csg_analysis.report.rows import BASELINE, Row, reference, score, to_baseline
from csg_analysis.report.tables import Cell, Column, Table, Value
from csg_train.files import packaged_table

__all__ = ["PublishedGain", "gain_table", "published_gains"]

_BACKBONES = {"resnet50": "R50", "resnet101": "R101"}
_PROTOCOL = (
    "Published protocol: GTA5 to Cityscapes (validation set), 19 classes, ResNet-50 (R50) and ResNet-101 (R101); of "
    "CSG one run, the best epoch chosen on the target (by its code; of the others unknown). Before: trained without "
    "the method; after: with it. IBN-Net and Yue et al. have a “before” of their own code, ASG and CSG share one."
)


@dataclass(frozen=True)
class PublishedGain:
    """One entry of the paper's Table 5.

    Attributes:
        method: Name in the registry.
        label: As printed.
        before: Mean IoU without the method, as a share.
        after: Mean IoU with it.
    """

    method: str
    label: str
    before: float
    after: float

    @property
    def gain(self) -> float:
        """Difference of the two, as a share."""
        return self.after - self.before


def published_gains(backbone: str) -> dict[str, PublishedGain]:
    """The table's entries for ``resnet50`` or ``resnet101`` by method, in its order."""
    entries = [
        PublishedGain(line["method"], line["label"], float(line["before"]) / 100, float(line["after"]) / 100)
        for line in packaged_table("csg_analysis.report", "published_segmentation.csv")
        if line["backbone"] == backbone
    ]
    return {entry.method: entry for entry in entries}


def gain_table(rows: Sequence[Row]) -> Table:
    """Published and measured gains side by side, a line for each of the paper's methods (`paper_table`)."""
    known = {backbone: published_gains(backbone) for backbone in _BACKBONES}
    labels = {entry.method: entry.label for entries in known.values() for entry in entries.values()}
    pairs: list[tuple[str, Row | None]] = []
    own = [row for row in rows if row.kind == PAPER]
    for method in labels:
        pairs += [(method, row) for row in own if row.method == method] or [(method, None)]
    pairs += [(row.method, row) for row in own if row.method not in labels]
    cells, data = [], []
    for method, row in pairs:
        theirs = {backbone: entries.get(method) for backbone, entries in known.items()}
        cells.append([_name(labels.get(method), row), *_published_cells(theirs), *_our_cells(row, rows)])
        data.append({"method": method, "row": row.label if row else None, **_data(theirs, row, rows)})
    columns = [Column("Method", numeric=False)]
    for title in (*_BACKBONES.values(), "ours"):
        columns += [Column("Before", f"%, {title}"), Column("After", f"%, {title}"), Column("Gain", title)]
    notes = [f"Published: {SOURCE.format(number=5)}.", f"{_PROTOCOL} {our_protocol(rows)}"]
    ours = "the gain the mean of the paired differences with its simultaneous interval"
    notes.append(f"Ours: before is {BASELINE}, {ours}.")
    if len(own) < len(rows):
        notes.append(NOT_PUBLISHED)
    title = "Mean IoU: the paper's Table 5 (published) and our numbers"
    return Table("paper_segmentation", title, columns, cells, data, notes)


def _name(label: str | None, row: Row | None) -> Cell:
    if label is None:
        assert row is not None
        note = "before, without a method" if row.method == BASELINE else "not in the paper's table"
        return Cell(row.label, note=note)
    return Cell(label, note=f"ours: {row.label}" if row else "not run here")


def _published_cells(theirs: Mapping[str, PublishedGain | None]) -> list[Cell]:
    cells = []
    for entry in theirs.values():
        if entry is None:
            cells += [Cell(fmt.DASH)] * 3
        else:
            cells += [Cell(fmt.percent(value, 2), sort=100 * value) for value in (entry.before, entry.after)]
            cells.append(Cell(fmt.signed(100 * entry.gain, 2), sort=100 * entry.gain))
    return cells


def _our_cells(row: Row | None, rows: Sequence[Row]) -> list[Cell]:
    if row is None:
        return [Cell(fmt.DASH)] * 3
    base = reference(rows, BASELINE, row.group)
    found = to_baseline(row, rows, score())
    return [
        Cell(fmt.DASH) if base is None or base is row else spread_cell(base, score(), 1, scale=100),
        spread_cell(row, score(), 1, scale=100),
        Cell(
            fmt.difference(found, 1, scale=100),
            sort=100 * found.mean if found else None,
            note=fmt.interval(found, 1, scale=100) if found else "",
        ),
    ]


def _data(theirs: Mapping[str, PublishedGain | None], row: Row | None, rows: Sequence[Row]) -> dict[str, Value]:
    data: dict[str, Value] = {}
    for backbone, entry in theirs.items():
        data[f"published_{backbone}_before_percent"] = 100 * entry.before if entry else None
        data[f"published_{backbone}_after_percent"] = 100 * entry.after if entry else None
        data[f"published_{backbone}_gain_points"] = 100 * entry.gain if entry else None
    base = reference(rows, BASELINE, row.group) if row else None
    before = base.spread(score()) if base and base is not row else None
    after = row.spread(score()) if row else None
    gain = to_baseline(row, rows, score()) if row else None
    data["ours_before_percent"] = 100 * before.mean if before else None
    data["ours_after_percent"] = 100 * after.mean if after else None
    data["ours_gain_points"] = 100 * gain.mean if gain else None
    return data
