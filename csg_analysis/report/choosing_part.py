"""Choosing without labels: how well each measure that needs none ordered the runs whose real accuracy is known."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from csg_analysis.report import format as fmt
from csg_analysis.report.cells import run_label
from csg_analysis.report.load import Run
from csg_analysis.report.ordering import Ordering, order, resampled
from csg_analysis.report.part import Part
from csg_analysis.report.rows import Row, wording
from csg_analysis.report.stats import LEVEL, MIN_METHODS, RESAMPLES, fewest_groups
from csg_analysis.report.tables import Cell, Column, Table, Value
from csg_analysis.report.wording import Wording, capital, input_size
from csg_train.runs.records import HELD_OUT, LabelFree

__all__ = ["choosing_part"]

_RANDOM = "a run at random"


@dataclass(frozen=True)
class _Group:
    """The runs of one group of the report that have both measures and a real score, and what orders them.

    Attributes:
        name: Letter, empty where there is one group.
        runs: In the order of the rows.
        labels: Of each, its row's label and the seed.
        scores_N: Their scores on the target.
        facts: Of every measure by name.
        orderings: Likewise, signed so that a rank correlation of 1 is the order that the measure promises.
        random: A choice that knows nothing.
    """

    name: str
    runs: tuple[Run, ...]
    labels: tuple[str, ...]
    scores_N: np.ndarray
    facts: dict[str, LabelFree]
    orderings: dict[str, Ordering]
    random: Ordering

    @property
    def label(self) -> str:
        """The letter as a row's or a sentence's label carries it."""
        return f" [{self.name}]" if self.name else ""

    @property
    def pairs(self) -> int:
        """How many different pairs of source and seed the bootstrap draws from."""
        return len({run.pair for run in self.runs})

    @property
    def fewest(self) -> int:
        """How many it takes to show a difference to held-out accuracy."""
        return fewest_groups(len(self.facts.keys() - {HELD_OUT}) or 1)


def choosing_part(rows: Sequence[Row]) -> Part | None:
    """A table of measures; None without two runs that have a record of ``csg-analyze choose`` and a real score."""
    words = wording(rows)
    found = {
        name: [
            (run, run_label(row, run, rows)) for row in rows if row.group == name for run in row.runs if _has_both(run)
        ]
        for name in dict.fromkeys(row.group for row in rows)
    }
    groups = [
        _group(name, [run for run, _ in own], [label for _, label in own])
        for name, own in found.items()
        if len(own) > 1
    ]
    if not groups:
        return None
    sentences = tuple(sentence for group in groups for sentence in _sentences(group, words))
    return Part("choosing", "Choosing", "Choosing without labels", (_table(groups, words),), (), sentences)


def _has_both(run: Run) -> bool:
    return "target" in run.choosing and "target" in run.scores and not run.chose_elsewhere


def _group(name: str, runs: Sequence[Run], labels: Sequence[str]) -> _Group:
    scores_N = np.array([run.scores["target"].score for run in runs])
    facts = {key: fact for run in runs for key, fact in run.choosing["target"].measures.items()}
    values = {key: _signed(runs, key, fact.higher_is_better) for key, fact in facts.items()}
    weights_RN, held_N = resampled([run.pair for run in runs]), values.pop(HELD_OUT, np.full(len(runs), np.nan))
    orderings = {HELD_OUT: order(held_N, scores_N, weights_RN)}
    for key, values_N in values.items():
        orderings[key] = order(values_N, scores_N, weights_RN, against_N=held_N, comparisons=len(values))
    random = order(np.zeros(len(runs)), scores_N, weights_RN)
    group = _Group(name, tuple(runs), tuple(labels), scores_N, facts, orderings, random)
    if group.pairs < group.fewest:
        orderings |= {key: replace(one, gain_ends=None) for key, one in orderings.items()}
    return group


def _signed(runs: Sequence[Run], name: str, higher: bool) -> np.ndarray:
    """Values of a measure, higher is better; NaN where it has none."""
    found = [run.choosing["target"].measures.get(name) for run in runs]
    values = [np.nan if fact is None or fact.value is None else fact.value for fact in found]
    return np.array(values) * (1 if higher else -1)


def _sentences(group: _Group, words: Wording) -> list[str]:
    held, count = group.orderings[HELD_OUT], len(group.runs)
    spread = f"{fmt.percent(group.scores_N.min())} to {fmt.percent(group.scores_N.max())} %"
    known = (
        f"{count} runs{group.label} have {words.score} on the target, {spread}, beside measures that need no label. "
        f"One at random is on average {fmt.percent(group.random.regret)} points below the best, the one with the "
        f"highest held-out accuracy {fmt.percent(held.regret)}."
    )
    compared = {name: one.gain_ends for name, one in group.orderings.items() if one.gain_ends is not None}
    if not compared:
        few = f"fewer than {MIN_METHODS} runs or {group.fewest} pairs of source and seed, or equal values throughout"
        return [known, f"Whether a measure orders runs{group.label} better than these cannot be said: {few}."]
    better = [name for name, (low, _) in compared.items() if low > 0]
    worse = [name for name, (_, high) in compared.items() if high < 0]
    verdict = (
        f"Shown to order these runs better than held-out accuracy: {', '.join(better)}."
        if better
        else "No measure is shown to order these runs better than held-out accuracy."
    )
    if worse:
        verdict += f" Shown to order them worse: {', '.join(worse)}."
    return [known, verdict]


def _table(groups: Sequence[_Group], words: Wording) -> Table:
    lines = [
        (group, name, one) for group in groups for name, one in ((_RANDOM, group.random), *group.orderings.items())
    ]
    return Table(
        name="choosing",
        title=f"Measures that need no real label, by how they order runs by {words.score} on the target",
        columns=[
            Column("Measure", "which end is better", numeric=False),
            Column("Runs"),
            Column("Rank correlation", f"Spearman, {LEVEL:.0%} interval"),
            Column("Δ to held-out", "simultaneous interval"),
            Column("Chooses", numeric=False),
            Column(capital(words.short), words.unit),
            Column("Regret", f"points, {LEVEL:.0%} interval"),
        ],
        rows=[_cells(*line) for line in lines],
        data=[_data(*line) for line in lines],
        notes=_notes(groups, words),
    )


def _cells(group: _Group, name: str, one: Ordering) -> list[Cell]:
    fact = group.facts.get(name)
    end = "" if fact is None else "higher" if fact.higher_is_better else "lower"
    names = [group.runs[index].name for index in one.chosen]
    low, high = one.gain_ends or (0.0, 0.0)
    tone = "good" if low > 0 else "bad" if high < 0 else ""
    return [
        Cell(f"{name}{group.label}", note=end),
        Cell(str(one.runs), sort=one.runs),
        Cell(fmt.fixed(one.rank, 2), sort=one.rank, note=fmt.between(one.rank_ends, 2)),
        Cell(
            fmt.DASH if one.gain is None else fmt.signed(one.gain, 2),
            sort=one.gain,
            note="" if one.gain_ends is None else fmt.ends(one.gain_ends, 2),
            strong=bool(tone),
            tone=tone,
        ),
        Cell(group.labels[one.chosen[0]], note=names[0])
        if len(names) == 1
        else Cell(f"{len(names)} runs alike", hint=", ".join(names)),
        Cell(fmt.percent(one.score), sort=one.score),
        Cell(fmt.percent(one.regret), sort=one.regret, note=fmt.between(one.regret_ends, 1, scale=100)),
    ]


def _data(group: _Group, name: str, one: Ordering) -> dict[str, Value]:
    data: dict[str, Value] = {"row": f"{name}{group.label}", "measure": name, "group": group.name, "runs": one.runs}
    data |= {"chosen": " ".join(group.runs[index].name for index in one.chosen), "pairs": group.pairs}
    data["chosen_rows"] = "; ".join(group.labels[index] for index in one.chosen)
    for field, value, ends, scale in (
        ("rank_correlation", one.rank, one.rank_ends, 1),
        ("minus_held_out", one.gain, one.gain_ends, 1),
        ("score_percent", one.score, None, 100),
        ("regret_points", one.regret, one.regret_ends, 100),
    ):
        data[field] = None if value is None else scale * value
        if field != "score_percent":
            low, high = (None, None) if ends is None else (scale * end for end in ends)
            data |= {f"{field}_low": low, f"{field}_high": high}
    return data


def _notes(groups: Sequence[_Group], words: Wording) -> list[str]:
    records = [run.choosing["target"] for group in groups for run in group.runs]
    facts = {name: fact for group in groups for name, fact in group.facts.items()}
    shown = {
        f"{record.data.count} pictures of {record.data.name} and {record.held_out.count} held-out synthetic ones of "
        f"{record.held_out.name} ({input_size(record.data)}); features: {record.pool} pool of {record.layer}, "
        f"{record.dim} dimensions; probabilities not calibrated{', mean of both mirror images' if record.flip else ''}."
        for record in records
    }
    pairs = " and ".join(str(group.pairs) for group in groups)
    return [
        *sorted(shown),
        f"Rank correlation: between {words.score} and a measure, whose sign is turned where lower is better: 1 means "
        f"the same order; for {MIN_METHODS} or more runs. Regret: score of the best run minus that of the chosen one "
        "(mean over ties).",
        f"Intervals: percentile bootstrap, {RESAMPLES} resamples of the runs, those of one source and seed drawn "
        f"together ({pairs} such pairs here, from {fewest_groups()} on). Δ: simultaneous {LEVEL:.0%} over all measures "
        f"but held-out accuracy (Bonferroni), for {max(group.fewest for group in groups)} or more pairs: fewer cannot "
        "reach that level; coloured where it excludes 0. They hold for other runs on these pictures, not for other "
        "targets; a resample has fewer distinct runs, so its regret is usually smaller.",
        *(f"{capital(name)}: {fact.definition}." for name, fact in facts.items()),
    ]
