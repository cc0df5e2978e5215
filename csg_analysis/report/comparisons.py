"""The table of comparisons with the baseline: each difference with its own interval and with the simultaneous one."""

from collections.abc import Sequence

from csg_analysis.report import format as fmt
from csg_analysis.report.cells import difference_cell, difference_data, name_cell
from csg_analysis.report.rows import FROZEN, Measure, Row, comparisons, energy, score, to_baseline, wording
from csg_analysis.report.stats import LEVEL, MIN_PAIRS
from csg_analysis.report.tables import Cell, Column, Table, Value

__all__ = ["comparison_notes", "comparison_table", "if_crossed", "picture_notes"]


def comparison_table(rows: Sequence[Row]) -> Table:
    """Of every row but the baseline: pairs, mean difference and both intervals, for the score and for E_0."""
    words = wording(rows)
    kinds: list[tuple[str, str, Measure, int, float, str]] = [
        (words.field, f"Δ {words.short}", score(), 1, 100, "higher"),
        ("e0_mhe", "ΔE₀", energy("0"), 3, 1, "lower"),
    ]
    columns, cells, data = [Column("Method", numeric=False)], [], []
    crossed = {field: _crossed(rows, measure) > 0 for field, _, measure, *_ in kinds}
    for field, name, _, _, scale, _ in kinds:
        columns += [
            Column(name, "points" if scale == 100 else "mhe"),
            Column("Unadjusted", f"{LEVEL:.0%} interval"),
            Column("Simultaneous", f"{LEVEL:.0%}, Bonferroni"),
            *([Column("Seeds and pictures", f"{LEVEL:.0%}, Bonferroni")] if crossed[field] else []),
        ]
    for row in rows:
        line, record = [name_cell(row, rows)], dict[str, Value](method=row.method, row=row.label, group=row.group)
        for field, _, measure, digits, scale, good in kinds:
            found = to_baseline(row, rows, measure)
            record |= difference_data(f"{field}_minus_baseline", found, scale)
            if found is None:
                line += [Cell(fmt.DASH)] * (3 + crossed[field])
                continue
            shown = difference_cell(found, digits, scale, good=good)
            interval, *verdict = shown.note.splitlines()
            text = fmt.difference(found, digits, scale=scale)
            line += [
                Cell(text, sort=scale * found.mean, note=f"n = {found.n}", strong=shown.strong),
                Cell(fmt.ends(found.interval, digits, scale=scale)),
            ]
            decisive = Cell(interval, note="".join(verdict), tone=shown.tone)
            if found.crossed:
                line += [Cell(fmt.ends(found.simultaneous, digits, scale=scale)), decisive]
            else:
                line += [decisive, *([Cell(fmt.DASH)] if crossed[field] else [])]
        if len(line) > 1 and any(cell.text != fmt.DASH for cell in line[1:]):
            cells.append(line)
            data.append(record)
    title = f"Comparisons with the baseline: {words.short} and E₀ on the target"
    return Table("comparisons", title, columns, cells, data, comparison_notes(rows))


def comparison_notes(rows: Sequence[Row]) -> list[str]:
    """What a difference, its intervals and its pairs are."""
    return [
        f"Δ: mean of the paired differences from the baseline over equal (source, seed), n pairs; intervals from "
        f"{MIN_PAIRS} pairs on. Unadjusted: the {LEVEL:.0%} t-interval of this one comparison.",
        f"Simultaneous {LEVEL:.0%} interval: the t-interval at level 1 {fmt.MINUS} {1 - LEVEL:.2f}/m (Bonferroni) for "
        f"m comparisons with the baseline on one measure, so that together all m cover their true differences with a "
        f"probability of {LEVEL:.0%} or more; every measure counts its own m. Here {_counts(rows)}, the frozen network "
        f"({FROZEN}) counted where it was run.",
        *picture_notes(rows),
        f"“Shown”, bold and colour, here and in the summary: the simultaneous interval{if_crossed(rows)} excludes 0; "
        "else “inconclusive”.",
        _pairs(rows),
    ]


def _crossed(rows: Sequence[Row], measure: Measure) -> int:
    """How many comparisons have an interval over pictures too."""
    found = (to_baseline(row, rows, measure) for row in rows)
    return sum(difference is not None and difference.crossed is not None for difference in found)


def if_crossed(rows: Sequence[Row]) -> str:
    """For a sentence about simultaneous intervals: which one decides."""
    return " (where there is one, that over seeds and pictures)" if _crossed(rows, score()) else ""


def picture_notes(rows: Sequence[Row]) -> list[str]:
    """What an interval over seeds and pictures is; nothing where no comparison has one."""
    count = _crossed(rows, score())
    if not count:
        return []
    return [
        f"Seeds and pictures: as simultaneous, with the same m (Bonferroni), over training seeds and over other target "
        "pictures of the same kind and classes: mean ± t √(s²/n + v), s² the variance of the n differences, v that of "
        "the mean difference when pictures are drawn within each class, the same ones for both methods. It covers no "
        f"other source, class or data set. {count} comparisons here have it: those whose records all hold per-picture "
        "predictions, which older records and those of segmentation do not."
    ]


def _counts(rows: Sequence[Row]) -> str:
    found = []
    for group in dict.fromkeys(row.group for row in rows):
        counts = {comparisons(rows, group, measure) for measure in (score(), energy("0"))} - {0}
        if counts:
            found.append(f"m = {' and '.join(map(str, sorted(counts)))}{f' in group {group}' if group else ''}")
    return ", ".join(found) or "m = 0"


def _pairs(rows: Sequence[Row]) -> str:
    """What varies between pairs, and what all of them share."""
    runs = [run for row in rows for run in row.runs]
    sources, seeds = ({getattr(run.info, name) for run in runs} for name in ("source", "seed"))
    beyond = " (only the one over seeds and pictures covers other pictures)" if _crossed(rows, score()) else ""
    if len(sources) == 1:
        vary = f"Pairs differ in the seed alone ({len(seeds)} here) and share the source's and the target's pictures"
        other = f"the intervals speak of other seeds on these pictures{beyond}, not of other sources or targets"
    else:
        vary = (
            f"Pairs differ in seed and source ({len(seeds)} and {len(sources)} here); those of one source share its "
            "pictures, all share the target's"
        )
        other = (
            "they count as independent, which holds over the seeds of a source; where methods do better on one source "
            f"than on another, there are but {len(sources)} independent sources and the intervals are too narrow for "
            f"others; of other target pictures they say nothing{beyond}"
        )
    return f"{vary}: {other}."
