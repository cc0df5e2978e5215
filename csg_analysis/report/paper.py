"""The paper's Table 1 beside ours. The published numbers are in ``published.csv``; nothing of ours is."""

import csv
import importlib.resources
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from csg_analysis.report import format as fmt
from csg_analysis.report.method_tables import spread_cell
from csg_analysis.report.rows import BASELINE, Measure, Row, accuracy, energy, reference
from csg_analysis.report.stats import Difference, rank_correlation
from csg_analysis.report.tables import Cell, Column, Table, Value

__all__ = ["Published", "order_sentences", "order_table", "paper_correlation", "paper_table", "published"]

_SOURCE = (
    "Chen, Yu, De Mello, Liu, Alvarez, Wang, Anandkumar: Contrastive Syn-to-Real Generalization, ICLR 2021, Table 1, "
    "read from the image of the table in a public review"
)
_PROTOCOL = (
    "Published protocol: VisDA-17, 3-D renders to COCO crops (validation set), 12 classes, ResNet-101, 224 px, one run "
    "a method, the best epoch chosen on the target. Ours: the pictures, backbone and size that the provenance names, "
    "the last step, several runs. The values are not comparable in size; the order of methods is the question.",
    "The paper defines E₀ with log 1/d, but its numbers agree with log 1/d² (the convention mhe), the mean over pairs, "
    "as its code does; ours stand beside them in that convention.",
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
    text = importlib.resources.files("csg_analysis.report").joinpath("published.csv").read_text(encoding="utf-8")
    return [
        Published(
            method=line["method"],
            label=line["label"],
            energy={order: float(line[f"e{order}"]) for order in "012" if line[f"e{order}"]},
            accuracy=float(line["accuracy"]) / 100,
        )
        for line in csv.DictReader(text.splitlines())
    ]


def paper_table(rows: Sequence[Row]) -> Table:
    """Published and measured numbers side by side, a line for each row of either."""
    cells, data = [], []
    known = published()
    pairs: list[tuple[Published | None, Row | None]] = []
    for entry in known:
        pairs += [(entry, row) for row in rows if row.method == entry.method] or [(entry, None)]
    pairs += [(None, row) for row in rows if row.method not in {entry.method for entry in known}]
    for theirs, ours in pairs:
        cells.append([_name(theirs, ours), *_published_cells(theirs), *_our_cells(ours)])
        data.append(_data(theirs, ours))
    columns = [Column("Method", numeric=False)]
    for whose in ("published", "ours"):
        columns += [Column(f"E{sub}", whose) for sub in "₀₁₂"]
        columns.append(Column("Accuracy", f"%, {whose}"))
    notes = [f"Published: {_SOURCE}.", *_PROTOCOL]
    return Table("paper", "The paper's Table 1 (published) beside ours", columns, cells, data, notes)


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
    return [*(spread_cell(row, energy(order), 3) for order in "012"), spread_cell(row, accuracy(), 1, scale=100)]


def _data(entry: Published | None, row: Row | None) -> dict[str, Value]:
    data: dict[str, Value] = {"method": entry.method if entry else row.method if row else None}
    data["row"] = row.label if row else None
    for order in "012":
        data[f"published_e{order}"] = entry.energy.get(order) if entry else None
        data[f"ours_e{order}"] = found.mean if row and (found := row.spread(energy(order))) else None
    data["published_accuracy_percent"] = 100 * entry.accuracy if entry else None
    data["ours_accuracy_percent"] = 100 * found.mean if row and (found := row.spread(accuracy())) else None
    return data


_ORDERED: tuple[tuple[str, Measure, int, float], ...] = (("E₀", energy("0"), 3, 1), ("accuracy", accuracy(), 1, 100))


def order_table(rows: Sequence[Row]) -> Table:
    """Each method against the baseline: the published difference, ours, and whether the two agree."""
    known = {entry.method: entry for entry in published()}
    cells, data = [], []
    for row in rows:
        base = reference(rows, BASELINE, row.group)
        if base is None or base is row or row.method not in known:
            continue
        line, record = [Cell(row.label, sort=row.position)], dict[str, Value](row=row.label)
        for name, measure, digits, scale in _ORDERED:
            theirs = _gap(known[row.method], known[BASELINE], name)
            ours = row.against(base, measure)
            agrees = _agreement(theirs, ours)
            line.append(Cell(fmt.DASH if theirs is None else fmt.signed(scale * theirs, max(digits, 2))))
            note = "" if ours is None else fmt.interval(ours, digits, scale=scale)
            line += [Cell(fmt.difference(ours, digits, scale=scale), note=note), Cell(agrees)]
            record[f"{name}_published"] = theirs
            record[f"{name}_ours"] = ours.mean if ours else None
            record[f"{name}_agrees"] = agrees
        cells.append(line)
        data.append(record)
    columns = [Column("Method", numeric=False)]
    for name, unit in (("ΔE₀", "mhe"), ("Δ accuracy", "points")):
        columns += [Column(name, f"{unit}, published"), Column(name, f"{unit}, ours")]
        columns.append(Column("Direction", numeric=False))
    return Table(
        "order", "Does the order agree with the paper's? Each method against the baseline", columns, cells, data
    )


def _gap(first: Published, second: Published, name: str) -> float | None:
    if name == "accuracy":
        return first.accuracy - second.accuracy
    return first.energy["0"] - second.energy["0"] if "0" in first.energy and "0" in second.energy else None


def _agreement(theirs: float | None, ours: Difference | None) -> str:
    if theirs is None:
        return "not published"
    if ours is None:
        return "not measured"
    if ours.sign == "few":
        return "too few runs"
    if ours.sign == "none":
        return "cannot be told"
    return "agrees" if (ours.sign == "higher") == (theirs > 0) else "disagrees"


def order_sentences(rows: Sequence[Row]) -> list[str]:
    """How many pairs of methods stand in the published order, for energy and for accuracy, and which."""
    known = {entry.method: entry for entry in published()}
    sentences = []
    for name, measure, _, _ in _ORDERED:
        found: dict[str, list[str]] = {"agrees": [], "disagrees": [], "": []}
        for first, second in itertools.combinations([row for row in rows if row.method in known], 2):
            gap = _gap(known[first.method], known[second.method], name)
            if first.group == second.group and gap:
                answer = _agreement(gap, first.against(second, measure))
                label = f"{first.label} {'>' if gap > 0 else '<'} {second.label}"
                found.get(answer, found[""]).append(label)
        sentences.append(f"{name[0].upper()}{name[1:]}: {_told(found)}.")
    return sentences


def _told(found: Mapping[str, Sequence[str]]) -> str:
    total = sum(map(len, found.values()))
    if not total:
        return "no two methods are in both tables"
    said = {
        "agrees": "ordered as published,",
        "disagrees": "the other way round, published as",
        "": "cannot be told from these runs, published as",
    }
    parts = [f"{len(names)} {said[answer]} {', '.join(names)}" for answer, names in found.items() if names]
    return f"{total} pair{'s' * (total > 1)} of methods in both tables: {'; '.join(parts)}"


def paper_correlation() -> tuple[float | None, int]:
    """Spearman's rank correlation of E_0 and accuracy over the published methods, and their number."""
    entries = [entry for entry in published() if "0" in entry.energy]
    return rank_correlation([e.energy["0"] for e in entries], [e.accuracy for e in entries]), len(entries)
