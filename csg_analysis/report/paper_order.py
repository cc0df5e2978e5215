"""Does the order of methods agree with the paper's? Each against the baseline, and each pair of methods."""

import itertools
from collections.abc import Mapping, Sequence

from csg_analysis.report import format as fmt
from csg_analysis.report.comparisons import if_crossed
from csg_analysis.report.kinds import PAPER
from csg_analysis.report.paper import published
from csg_analysis.report.paper_segmentation import published_gains
from csg_analysis.report.rows import BASELINE, Measure, Row, energy, reference, score, to_baseline, wording
from csg_analysis.report.stats import LEVEL, Difference
from csg_analysis.report.tables import Cell, Column, Table, Value
from csg_analysis.report.wording import capital

__all__ = ["order_sentences", "order_table"]

_ENERGY, _SCORE = "energy", "score"
_SAID = {
    "agrees": "ordered as published,",
    "disagrees": "the other way round, published as",
    "inconclusive": "inconclusive in these runs, published as",
    "too few runs": "of too few runs to tell, published as",
    "not measured": "not measured here, published as",
}


def _published(row: Row) -> dict[str, dict[str, float]]:
    """Published energy and score by method, comparable with each other; for segmentation the gains over a baseline."""
    if row.task == "classification":
        entries = published()
        energies = {entry.method: entry.energy["0"] for entry in entries if "0" in entry.energy}
        return {_ENERGY: energies, _SCORE: {entry.method: entry.accuracy for entry in entries}}
    backbone = "resnet101" if row.runs[0].info.backbone == "resnet101" else "resnet50"
    gains = {method: entry.gain for method, entry in published_gains(backbone).items()}
    return {_ENERGY: {}, _SCORE: {BASELINE: 0.0} | gains}


def _own(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row.kind == PAPER]


def _kinds(rows: Sequence[Row]) -> list[tuple[str, str, str, Measure, int, float]]:
    """Kind, name, field, measure, digits and scale of what is compared; no energy is published for segmentation."""
    words = wording(rows)
    kinds: list[tuple[str, str, str, Measure, int, float]] = [(_SCORE, words.short, words.short_field, score(), 1, 100)]
    if any(row.task == "classification" for row in rows):
        kinds.insert(0, (_ENERGY, "E₀", "e0_mhe", energy("0"), 3, 1))
    return kinds


def order_table(rows: Sequence[Row]) -> Table:
    """Each of the paper's methods against the baseline: the published difference, ours, and whether the two agree."""
    kinds = _kinds(rows)
    cells, data = [], []
    for row in _own(rows):
        base, known = reference(rows, BASELINE, row.group), _published(row)
        if base is None or base.kind != PAPER or base is row or row.method not in known[_SCORE]:
            continue
        line, record = [Cell(row.label, sort=row.position)], dict[str, Value](row=row.label)
        for kind, _, field, measure, digits, scale in kinds:
            theirs = _gap(known[kind], row.method, BASELINE)
            ours = to_baseline(row, rows, measure)
            agrees = _agreement(theirs, ours)
            line.append(Cell(fmt.DASH if theirs is None else fmt.signed(scale * theirs, max(digits, 2))))
            note = "" if ours is None else fmt.interval(ours, digits, scale=scale)
            line += [Cell(fmt.difference(ours, digits, scale=scale), note=note), Cell(agrees)]
            record[f"{field}_published"] = None if theirs is None else scale * theirs
            record[f"{field}_ours"] = scale * ours.mean if ours else None
            record[f"{field}_agrees"] = agrees
        cells.append(line)
        data.append(record)
    columns = [Column("Method", numeric=False)]
    for kind, name, *_ in kinds:
        heading, unit = ("ΔE₀", "mhe") if kind == _ENERGY else (f"Δ {name}", "points")
        columns += [Column(heading, f"{unit}, published"), Column(heading, f"{unit}, ours")]
        columns.append(Column("Direction", numeric=False))
    title = "Does the order agree with the paper's? Each method against the baseline"
    return Table("order", title, columns, cells, data, _notes(rows))


def _notes(rows: Sequence[Row]) -> list[str]:
    which = f"simultaneous {LEVEL:.0%} interval{if_crossed(rows)}"
    notes = [f"Ours: the mean difference with its {which}; inconclusive if it contains 0."]
    if all(row.task == "classification" for row in rows):
        return notes
    return [
        *notes,
        "Mean IoU: the published gain of each method over its own baseline (ResNet-101 for runs with that backbone, "
        "else ResNet-50); two methods are ordered by it.",
    ]


def _gap(known: Mapping[str, float], first: str, second: str) -> float | None:
    return known[first] - known[second] if first in known and second in known else None


def _agreement(theirs: float | None, ours: Difference | None) -> str:
    if theirs is None:
        return "not published"
    if ours is None:
        return "not measured"
    if ours.sign == "few":
        return "too few runs"
    if ours.sign == "none":
        return "inconclusive"
    return "agrees" if (ours.sign == "higher") == (theirs > 0) else "disagrees"


def order_sentences(rows: Sequence[Row]) -> list[str]:
    """How many pairs of methods stand in the published order, for energy and for the score, and which."""
    sentences = []
    for kind, name, _, measure, _, _ in _kinds(rows):
        found: dict[str, list[str]] = {answer: [] for answer in _SAID}
        over = ""
        pairs = [
            (first, second, gap)
            for first, second in itertools.combinations(_own(rows), 2)
            if first.group == second.group and (gap := _gap(_published(first)[kind], first.method, second.method))
        ]
        for first, second, gap in pairs:
            ours = first.against(second, measure, len(pairs))
            over = " over seeds and pictures" if ours and ours.crossed else over
            answer = _agreement(gap, ours)
            found[answer].append(f"{first.label} {'>' if gap > 0 else '<'} {second.label}")
        sentences.append(f"{capital(name)}: {_told(found, over)}.")
    return sentences


def _told(found: Mapping[str, Sequence[str]], over: str) -> str:
    total = sum(map(len, found.values()))
    if not total:
        return "no two methods are in both tables"
    parts = [f"{len(names)} {_SAID[answer]} {', '.join(names)}" for answer, names in found.items() if names]
    how = f"simultaneous {LEVEL:.0%} intervals{over}"
    return f"{total} pair{'s' * (total > 1)} of methods in both tables ({how}): {'; '.join(parts)}"
