"""From runs to the rows of the tables: one row a method and configuration, in the order of the registry."""

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from csg_analysis.report.compare import Comparison
from csg_analysis.report.kinds import KINDS, PAPER, kind_of
from csg_analysis.report.load import Run
from csg_analysis.report.stats import Difference, Spread, paired_difference, picture_variance, spread
from csg_analysis.report.wording import Wording, wording_of
from csg_train.methods.declared import declaration
from csg_train.methods.table import PLACES
from csg_train.runs.labels import row_labels
from csg_train.runs.records import AccuracyRecord, DataInfo, RunInfo

__all__ = [
    "BASELINE",
    "FROZEN",
    "Measure",
    "Row",
    "best",
    "comparisons",
    "energy",
    "make_rows",
    "on_target",
    "overall",
    "reference",
    "score",
    "title_of",
    "to_baseline",
    "wording",
]

BASELINE = "baseline"
FROZEN = "oracle"

Measure = Callable[[Run], float | None]
"""One number of a run; None where it was not measured."""


def energy(order: str, split: str = "target") -> Measure:
    """E_s of one order in the convention ``mhe``; infinity where equal pictures make it so by rule."""

    def measure(run: Run) -> float | None:
        record = run.energy.get(split)
        if record is None or order not in record.mhe:
            return None
        return math.inf if (value := record.mhe[order]) is None else value

    return measure


@dataclass(frozen=True)
class Score:
    """The figure of merit, as a share: mean-per-class accuracy, or mean IoU of a segmentation."""

    split: str

    def __call__(self, run: Run) -> float | None:
        """Of one run."""
        record = run.scores.get(self.split)
        return None if record is None else record.score


def score(split: str = "target") -> Score:
    """The measure that the whole report is about."""
    return Score(split)


def overall(run: Run) -> float | None:
    """Share of all target pictures (of a segmentation, all pixels) that are predicted right."""
    record = run.scores.get("target")
    return None if record is None else record.overall


def on_target(run: Run) -> list[DataInfo]:
    """What the run's records of the target were measured on."""
    return [record.data for record in run.measured if record.data.split == "target"]


@dataclass(frozen=True, eq=False)
class Row:
    """All runs of one method in one configuration (and, in a mixed report, of one group).

    Attributes:
        label: Short name; fields that set two configurations of a method apart are in it.
        title: The method's own title.
        method: Name in the registry.
        group: Letter of the group in a mixed report, else empty.
        kind: One of `KINDS`.
        position: Rank in the table, from 0; fixes colour and marker.
        runs: At least one, sorted by source and seed.
    """

    label: str
    title: str
    method: str
    group: str
    kind: str
    position: int
    runs: tuple[Run, ...]

    def values(self, measure: Measure) -> dict[Hashable, float]:
        """The measured numbers by pair key, in the order of the runs; none where one is infinite, and so their mean."""
        found: dict[Hashable, float] = {run.pair: value for run in self.runs if (value := measure(run)) is not None}
        return {} if math.inf in found.values() else found

    def spread(self, measure: Measure) -> Spread | None:
        """Mean and standard deviation over the runs that have the number."""
        return spread(list(self.values(measure).values()))

    def against(self, other: "Row", measure: Measure, comparisons: int = 1) -> Difference | None:
        """Paired difference to another row, over the pairs of source and seed that both have."""
        pictures = self.picture_variance(other) if isinstance(measure, Score) and measure.split == "target" else None
        return paired_difference(self.values(measure), other.values(measure), comparisons, pictures)

    def picture_variance(self, other: "Row") -> float | None:
        """Variance over target pictures of the mean difference in the score, over the pairs that both rows have.

        None where a record of a pair has no single predictions, or the pictures are not the same.
        """
        if other not in self._variances:
            self._variances[other] = self._variance(other)
        return self._variances[other]

    @cached_property
    def _variances(self) -> dict["Row", float | None]:
        """Those already computed: every table and chart asks for them."""
        return {}

    def _variance(self, other: "Row") -> float | None:
        ours, theirs = self._right, other._right
        pairs = [pair for pair in self.values(score()) if pair in other.values(score())]
        if not pairs or any(pair not in right for pair in pairs for right in (ours, theirs)):
            return None
        if len({identity for pair in pairs for identity, _ in (ours[pair], theirs[pair])}) > 1:
            return None
        each = [[a - b for a, b in zip(ours[pair][1], theirs[pair][1], strict=True)] for pair in pairs]
        return picture_variance([np.mean(own, axis=0) for own in zip(*each, strict=True) if own[0].size])

    @cached_property
    def _right(self) -> dict[Hashable, tuple[str, list[np.ndarray]]]:
        """Of each pair whose record has single predictions the pictures' identity and, by class, 1 where right."""
        return {
            run.pair: (record.data.identity, [(own == label) * 1.0 for label, own in enumerate(record.predictions)])
            for run in self.runs
            if isinstance(record := run.scores.get("target"), AccuracyRecord) and record.predicted
        }

    @property
    def task(self) -> str:
        """``classification`` or ``segmentation``."""
        return self.runs[0].task


def wording(rows: Sequence[Row]) -> Wording:
    """The words for the task of these rows' runs."""
    return wording_of(run for row in rows for run in row.runs)


def title_of(method: str) -> str:
    """Of a method of the registry; of any other its name."""
    return declaration(method).info.title if method in PLACES else method


def make_rows(runs: Sequence[Run], comparison: Comparison) -> list[Row]:
    """Group runs into rows; the order is by kind, then the registry's, then by name, never by result."""
    found: dict[tuple[str, str, str], list[Run]] = {}
    for run in runs:
        found.setdefault((comparison.group[run.name], run.info.method, run.config), []).append(run)
    infos = {key: own[0].info for key, own in found.items()}
    keys = sorted(found, key=lambda key: (key[0], *_place(infos[key]), key[2]))
    labels = row_labels(infos)
    return [
        Row(
            label=f"{labels[key]} [{key[0]}]" if key[0] else labels[key],
            title=title_of(key[1]),
            method=key[1],
            group=key[0],
            kind=kind_of(infos[key]),
            position=position,
            runs=tuple(sorted(found[key], key=lambda run: (run.info.source, run.info.seed, run.name))),
        )
        for position, key in enumerate(keys)
    ]


def _place(info: RunInfo) -> tuple[int, int, str, int]:
    names, method = list(PLACES), info.method
    place = names.index(method) if method in PLACES else len(names)
    return KINDS.index(kind_of(info)), place, method, len(info.options)


def reference(rows: Sequence[Row], method: str, group: str) -> Row | None:
    """The row of a reference method in a group, nothing added to it; None when it was not run."""
    return next((row for row in rows if (row.method, row.group, row.kind) == (method, group, PAPER)), None)


def comparisons(rows: Sequence[Row], group: str, measure: Measure) -> int:
    """How many rows of the group are compared with its baseline, the frozen network among them."""
    base = reference(rows, BASELINE, group)
    if base is None:
        return 0
    known = base.values(measure).keys()
    return sum(row is not base and row.group == group and not known.isdisjoint(row.values(measure)) for row in rows)


def to_baseline(row: Row, rows: Sequence[Row], measure: Measure) -> Difference | None:
    """Paired difference to the group's baseline, one of `comparisons`; None for itself, and without one."""
    base = reference(rows, BASELINE, row.group)
    if base is None or base is row:
        return None
    return row.against(base, measure, comparisons(rows, row.group, measure))


def best(rows: Sequence[Row], measure: Measure) -> list[Row]:
    """The row of each group whose `Difference.decisive` against every other row of it lies above 0, where one has it.

    A false best is one that beats the true best, so there are as many comparisons as other rows.
    """
    found = []
    for row in rows:
        others = [other for other in rows if other is not row and other.group == row.group and other.values(measure)]
        differences = [row.against(other, measure, len(others)) for other in others]
        if differences and all(own is not None and own.sign == "higher" for own in differences):
            found.append(row)
    return found
