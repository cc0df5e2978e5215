"""What is followed along training, and what its intervals show."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from csg_analysis.report import format as fmt
from csg_analysis.report.load import Run
from csg_analysis.report.part import span
from csg_analysis.report.rows import BASELINE, FROZEN, Measure, Row, energy, reference
from csg_analysis.report.stats import LEVEL, MIN_PAIRS, Difference, paired_difference

__all__ = ["Quantity", "course_sentences", "energy_course", "on_the_way"]


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """What is followed along the runs.

    Attributes:
        field: Its name in CSV and JSON.
        name: In headings.
        hint: Below the heading.
        axis: Along the vertical axis.
        good: Whether ``higher`` or ``lower`` is better.
        measure: Of one snapshot.
    """

    field: str
    name: str
    hint: str
    axis: str
    good: str
    measure: Measure
    digits: int
    scale: float

    def at(self, step: int) -> Measure:
        """The same of a run's snapshot of one step."""

        def measure(run: Run) -> float | None:
            snapshot = run.along.get(step)
            return None if snapshot is None else self.measure(snapshot)

        return measure

    def measured(self, run: Run) -> set[int]:
        """The steps at which a run has it."""
        return {step for step in run.along if self.at(step)(run) not in (None, math.inf)}

    def steps(self, row: Row) -> list[int]:
        """The steps that all of the method's runs with snapshots have: means over other steps mix other runs."""
        found = [steps for run in row.runs if (steps := self.measured(run))]
        return sorted(set.intersection(*found)) if found else []

    def change(self, row: Row, rows: Sequence[Row]) -> Difference | None:
        """From the first to the last of `steps`, over the runs, one change of each row's; None with one step."""
        steps = self.steps(row)
        if len(steps) < 2:
            return None
        return self.between((row, steps[-1]), (row, steps[0]), sum(len(self.steps(other)) > 1 for other in rows))

    def extreme(self, row: Row, which: Callable[..., int | None]) -> int | None:
        """The step of the highest (``max``) or lowest (``min``) mean."""
        means = {step: found.mean for step in self.steps(row) if (found := row.spread(self.at(step))) is not None}
        return which(means, key=means.__getitem__, default=None)

    def between(self, one: tuple[Row, int], other: tuple[Row, int], comparisons: int) -> Difference | None:
        """A row at a step minus a row at a step, over the pairs that both have."""
        ours, theirs = (row.values(self.at(step)) for row, step in (one, other))
        return paired_difference(ours, theirs, comparisons)


def energy_course(split: str) -> Quantity:
    """E_0 of a split's pictures."""
    return Quantity(
        field="e0_mhe",
        name="E₀",
        hint="mhe",
        axis="E₀ (mhe), lower = more diverse",
        good="lower",
        measure=energy("0", split),
        digits=3,
        scale=1,
    )


def course_sentences(rows: Sequence[Row], split: str, quantity: Quantity) -> str:
    """What the intervals show, and nothing of methods with too few runs for one."""
    said: dict[str, list[str]] = {}
    counts = []
    for row in rows:
        if (change := quantity.change(row, rows)) is None:
            continue
        steps = quantity.steps(row)
        start, end = (row.spread(quantity.at(step)) for step in (steps[0], steps[-1]))
        assert start is not None
        assert end is not None
        ends = (
            f" ({fmt.fixed(start.mean, 3)} to {fmt.fixed(end.mean, 3)})" if change.sign in ("higher", "lower") else ""
        )
        outcome = "same" if change.sign == "none" and not any(change.values) else change.sign
        said.setdefault(outcome, []).append(f"{row.label}{ends}")
        counts += [change.n] if outcome != "few" else []
    outcomes = {
        "higher": "E₀ rises for {}: the features lose diversity",
        "lower": "E₀ falls for {}: the features gain diversity",
        "none": "no change of E₀ can be shown for {}",
        "same": "E₀ stays the same for {}",
    }
    parts = [text.format(", ".join(said[outcome])) for outcome, text in outcomes.items() if outcome in said]
    lines = []
    if parts:
        how = f"simultaneous {LEVEL:.0%} intervals, n = {span(counts)} runs"
        lines.append(f"On {split} pictures, from the first measured step to the last ({how}): {'; '.join(parts)}.")
    if "few" in said:
        lines.append(f"Nothing is said of {', '.join(said['few'])} on {split} pictures: fewer than {MIN_PAIRS} runs.")
    return " ".join(lines)


def on_the_way(rows: Sequence[Row], quantity: Quantity) -> str:
    """That features collapsed before the end, and which methods kept them below the baseline's highest; or nothing.

    The steps are sought among all, so intervals are adjusted for two comparisons at every step of every row but the
    first.
    """
    risen, kept = [], []
    count = 2 * sum(max(0, len(quantity.steps(row)) - 1) for row in rows)
    for row in rows:
        steps, peak, base = quantity.steps(row), quantity.extreme(row, max), reference(rows, BASELINE, row.group)
        if peak in steps[1:-1]:
            risen += _shown(quantity.between((row, peak), (row, steps[0]), count), "higher", row, f" at step {peak}")
        if base is None or base is row or row.method == FROZEN:
            continue
        highest = quantity.extreme(base, max)
        if highest in steps[1:-1]:
            kept += _shown(quantity.between((row, highest), (base, highest), count), "lower", row)
    if not risen:
        return ""
    then = f"; where the baseline's E₀ is highest, it is lower for {', '.join(kept)}" if kept else ""
    return (
        f"During training E₀ rises above its start for {', '.join(risen)}: the features collapse{then} "
        "(adjusted for every step of every row)."
    )


def _shown(found: Difference | None, sign: str, row: Row, where: str = "") -> list[str]:
    """A method and its difference where the interval shows it."""
    if found is None or found.sign != sign:
        return []
    return [f"{row.label} ({fmt.signed(found.mean, 3)} {fmt.interval(found, 3)}{where})"]
