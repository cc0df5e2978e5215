"""The tables with a row a method: energy and accuracy on the target, the other splits, accuracy by class."""

import math
from collections.abc import Mapping, Sequence

from csg_analysis.report import format as fmt
from csg_analysis.report.cells import difference_cell, difference_data, name_cell, spread_cell, spread_data
from csg_analysis.report.comparisons import picture_notes
from csg_analysis.report.cost_part import step_cell, timed
from csg_analysis.report.part import span
from csg_analysis.report.rows import (
    BASELINE,
    Measure,
    Row,
    best,
    energy,
    overall,
    reference,
    score,
    to_baseline,
    wording,
)
from csg_analysis.report.stats import LEVEL, MIN_PAIRS
from csg_analysis.report.tables import Cell, Column, Table, Value
from csg_analysis.report.unlabelled import UNKNOWN, unknown_score
from csg_analysis.report.wording import SELECTIONS, Wording, capital, input_size
from csg_train.runs.records import AccuracyRecord, ScoreRecord, only_prediction
from csg_train.splits import SPLITS

__all__ = ["class_names", "class_table", "measures", "method_table", "split_table"]


_TRAINED = {"data": ("size", "augment", "background"), "train": ("steps", "batch_size")}
"""Fields of a recipe that say how a run was trained, whatever its method."""


def measures(words: Wording) -> dict[str, tuple[Measure, float]]:
    """Measure and scale of each number of a method, by its field."""
    return {
        "e0_mhe": (energy("0"), 1),
        "e1_mhe": (energy("1"), 1),
        "e2_mhe": (energy("2"), 1),
        words.field: (score(), 100),
        "overall_percent": (overall, 100),
    }


def method_table(rows: Sequence[Row]) -> Table:
    """Energies and scores on the target, mean and standard deviation over runs, paired differences."""
    top, words, pictures = best(rows, score()), wording(rows), picture_notes(rows)
    return Table(
        name="methods",
        title=f"Hyperspherical energy and {words.short} on the target, by method",
        columns=[
            Column("Method", numeric=False),
            Column("Runs"),
            Column("E₀", "mhe"),
            Column("ΔE₀", "vs. baseline"),
            Column(capital(words.short), words.unit),
            Column(f"Δ {words.short}", "points, vs. baseline"),
            *([Column("Step", "baseline = 1")] if timed(rows) else []),
            Column("E₁"),
            Column("E₂"),
            Column("Overall", words.overall),
        ],
        rows=[_method_cells(row, rows, strong=row in top) for row in rows],
        data=[_method_data(row, rows, words) for row in rows],
        notes=[
            *_energy_notes(rows),
            *_score_notes(rows),
            *_training_notes(rows),
            *_statistics_notes(top, words, bool(pictures)),
            *pictures,
            *_remarks(rows),
        ],
    )


def _remarks(rows: Sequence[Row]) -> list[str]:
    lines = dict.fromkeys(line for row in rows for run in row.runs for line in run.remarks)
    return [f"The author remarks: {line}" for line in lines]


def _method_cells(row: Row, rows: Sequence[Row], *, strong: bool) -> list[Cell]:
    same = row is reference(rows, BASELINE, row.group)
    unknown = row.spread(score()) is None and unknown_score(row.runs)
    return [
        name_cell(row, rows),
        Cell(str(len(row.runs)), sort=len(row.runs)),
        spread_cell(row, energy("0"), 3, interval=True),
        difference_cell(to_baseline(row, rows, energy("0")), 3, 1, good="lower", same=same),
        Cell(UNKNOWN) if unknown else spread_cell(row, score(), 1, scale=100, strong=strong, interval=True),
        difference_cell(to_baseline(row, rows, score()), 1, 100, good="higher", same=same),
        *([step_cell(row, rows)] if timed(rows) else []),
        spread_cell(row, energy("1"), 3),
        spread_cell(row, energy("2"), 3),
        Cell(UNKNOWN) if unknown else spread_cell(row, overall, 1, scale=100),
    ]


def _method_data(row: Row, rows: Sequence[Row], words: Wording) -> dict[str, Value]:
    data: dict[str, Value] = {"method": row.method, "row": row.label, "group": row.group, "kind": row.kind}
    data["runs"] = len(row.runs)
    kinds = measures(words)
    for name, (measure, scale) in kinds.items():
        data |= spread_data(name, row.spread(measure), scale)
    for name in ("e0_mhe", words.field):
        measure, scale = kinds[name]
        data |= difference_data(f"{name}_minus_baseline", to_baseline(row, rows, measure), scale)
    return data


def _energy_notes(rows: Sequence[Row]) -> list[str]:
    records = [run.energy["target"] for row in rows for run in row.runs if "target" in run.energy]
    if not records:
        return []
    settings = sorted({f"{record.pool} pool of {record.layer}, {record.dim} dimensions" for record in records})
    rules = sorted({record.coincident_rule for record in records})
    found = span([record.coincident for record in records])
    uniform = {record.dim: value for record in records if (value := record.uniform.get("0")) is not None}
    reference_value = "; ".join(f"{fmt.fixed(value, 3)} in {dim} dimensions" for dim, value in sorted(uniform.items()))
    return [
        "E_s: hyperspherical energy, the mean over pairs of distinct target pictures, lower = more diverse features. "
        "Convention mhe: log 1/d² for s = 0 (twice equation 1 of the paper), 1/d and 1/d² for s = 1 and 2.",
        f"Features: {' / '.join(settings)}. Coincident pairs: {found}, rule “{' / '.join(rules)}”. "
        + (f"Uniform directions would have E₀ = {reference_value}." if reference_value else ""),
    ]


def _score_notes(rows: Sequence[Row]) -> list[str]:
    measured = [(run, run.scores["target"]) for row in rows for run in row.runs if "target" in run.scores]
    if not measured:
        return []
    words, records = wording(rows), [record for _, record in measured]
    shown = sorted({f"{r.data.name}, {r.data.count} pictures ({input_size(r.data)})" for r in records})
    how = sorted({_predicted(record) for record in records})
    rules = [rule for rule in SELECTIONS if rule in {run.info.selection for row in rows for run in row.runs}]
    meaning = "; ".join(f"{rule} ({SELECTIONS[rule]})" for rule in rules)
    averaged = [row.label for row in rows if any(run.info.averaged for run in row.runs)]
    same = [f"{run.name} ({name})" for run, record in measured if (name := only_prediction(record)) is not None]
    return [
        f"{capital(words.score)} on the target: {' / '.join(shown)}. {' / '.join(how)}",
        f"Selection rule: {meaning}."
        + (f" Of {', '.join(averaged)} an average of weights is measured in its place." if averaged else ""),
        *([f"One class was predicted for all of the target by {', '.join(same)}: training diverged?"] if same else []),
    ]


def _training_notes(rows: Sequence[Row]) -> list[str]:
    """What the runs of a table were trained with, beside what Provenance has of their methods."""
    said = []
    for section, names in _TRAINED.items():
        parts = [part for row in rows for run in row.runs if isinstance(part := run.recipe.get(section), dict)]
        for name in names:
            if values := {str(part[name]) for part in parts if name in part}:
                said.append(f"{section}.{name} {' / '.join(sorted(values))}")
    return [f"Training, as the recipes have it: {'; '.join(said)}."] if said else []


def _predicted(record: ScoreRecord) -> str:
    if isinstance(record, AccuracyRecord):
        of = "averaged over the picture and its mirror image" if record.flip else "of the picture"
        return f"Prediction: the largest sigmoid {of}; mean per class weights classes equally, overall pictures."
    return (
        "IoU of a class: pixels correctly predicted as the class, divided by pixels that are of it or predicted as it, "
        "all pictures counted together; mean IoU weights classes equally, overall pixels. Single scale, no "
        "mirror image; ignored pixels count nowhere."
    )


def _statistics_notes(top: Sequence[Row], words: Wording, pictures: bool) -> list[str]:
    which = f" (for {words.short} the one over seeds and pictures, where there is one)" if pictures else ""
    whose = " and ".join(f"{row.label}'s" for row in top) or "no"
    return [
        f"±: standard deviation over runs (n {fmt.MINUS} 1); none for a single run. Below it the {LEVEL:.0%} "
        f"t-interval of the mean, for {MIN_PAIRS} or more runs, which treats runs as independent, even those of one "
        "source.",
        f"Δ: mean of the paired differences from the baseline with its simultaneous {LEVEL:.0%} interval, adjusted for "
        f"the number of methods (Bonferroni){which}; bold and “shown” when that excludes 0, else “inconclusive”.",
        f"The best {words.short} is bold only when its simultaneous interval against every other method excludes 0; "
        f"here {whose} {words.short} is bold.",
    ]


def split_table(rows: Sequence[Row]) -> Table:
    """Score and E_0 on all splits: is the source learnt, and do held-out synthetic pictures tell the same story?"""
    hints = {"source": "trained on", "validation": "held out", "target": "real"}
    words = wording(rows)
    kinds: list[tuple[str, str, Measure, int, float]]
    kinds = [(words.short_field, split, score(split), 1, 100.0) for split in SPLITS]
    kinds += [("e0_mhe", split, energy("0", split), 3, 1.0) for split in SPLITS]
    columns = [Column("Method", numeric=False)]
    columns += [Column(f"{capital(split)} %", hints[split]) for split in SPLITS]
    columns += [Column(f"{capital(split)} E₀", hints[split]) for split in SPLITS]
    cells, data = [], []
    for row in rows:
        cells.append(
            [name_cell(row, rows), *(spread_cell(row, m, digits, scale=scale) for _, _, m, digits, scale in kinds)]
        )
        record: dict[str, Value] = {"method": row.method, "row": row.label}
        for kind, split, measure, _, scale in kinds:
            record |= spread_data(f"{kind}_{split}", row.spread(measure), scale)
        data.append(record)
    notes = [
        f"%: {words.score}. E₀ in the convention mhe. Mean ± standard deviation over runs.",
        "Source and validation pictures belong to a run's own source; runs of another source were measured on others.",
    ]
    title = f"{capital(words.short)} and energy on source, held-out synthetic and real pictures"
    return Table("splits", title, columns, cells, data, notes)


def class_table(rows: Sequence[Row]) -> Table:
    """Accuracy (of a segmentation, IoU) of each class on the target, mean over the runs of each method."""
    words = wording(rows)
    classes = class_names(rows)
    counts = _counts(rows)
    shares = {(row.label, name): _class_mean(row, name) for name in classes for row in rows}
    data: list[dict[str, Value]] = [
        {"class": name, "row": label, words.class_field: None if value is None else 100 * value}
        for (label, name), value in shares.items()
    ]

    def tinted(row: Row, name: str) -> Cell:
        value = shares[row.label, name]
        return Cell(fmt.percent(value), sort=value, heat=value)

    if len(rows) > len(classes):  # the longer side goes down the page
        columns = [Column("Method", numeric=False)]
        columns += [Column(name, f"%, {counts.get(name, fmt.DASH)} {words.counted}") for name in classes]
        cells = [[name_cell(row, rows), *(tinted(row, name) for name in classes)] for row in rows]
    else:
        columns = [Column("Class", numeric=False), Column(capital(words.counted))]
        columns += [Column(row.label, "%") for row in rows]
        cells = [
            [Cell(name), Cell(counts.get(name, fmt.DASH)), *(tinted(row, name) for row in rows)] for name in classes
        ]
    tasks = {row.task for row in rows}
    notes = [f"{note}, mean over the method's runs." for task, note in _CLASS_NOTES.items() if task in tasks]
    return Table("per_class", f"{capital(words.by_class)} by class on the target", columns, cells, data, notes)


def class_names(rows: Sequence[Row]) -> list[str]:
    """Those of all runs that have a score on the target."""
    return list(dict.fromkeys(name for row in rows for run in row.runs for name in _per_class(run.scores)))


_CLASS_NOTES = {
    "classification": "Accuracy: share of the class's target pictures that are predicted right",
    "segmentation": "IoU: of the class's pixels, true or predicted, the share that is both",
}


def _per_class(records: Mapping[str, ScoreRecord]) -> dict[str, float | None]:
    record = records.get("target")
    return {} if record is None else dict(zip(record.classes, record.per_class, strict=True))


def _class_mean(row: Row, name: str) -> float | None:
    found = [_per_class(run.scores).get(name) for run in row.runs]
    values = [value for value in found if value is not None]
    return math.fsum(values) / len(values) if values else None


def _counts(rows: Sequence[Row]) -> dict[str, str]:
    found: dict[str, set[int]] = {}
    for row in rows:
        for run in row.runs:
            if (record := run.scores.get("target")) is not None:
                for name, line in zip(record.classes, record.confusion, strict=True):
                    found.setdefault(name, set()).add(sum(line))
    return {name: " / ".join(map(str, sorted(counts))) for name, counts in found.items()}
