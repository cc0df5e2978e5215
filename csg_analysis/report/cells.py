"""What tables of methods share: a row's heading, mean and difference as cells and as flat fields."""

from collections.abc import Sequence

from csg_analysis.report import format as fmt
from csg_analysis.report.load import Run
from csg_analysis.report.rows import Measure, Row
from csg_analysis.report.stats import Difference, Spread
from csg_analysis.report.style import style_of
from csg_analysis.report.tables import Cell, Value

__all__ = [
    "difference_cell",
    "difference_data",
    "difference_note",
    "name_cell",
    "run_label",
    "spread_cell",
    "spread_data",
]


def name_cell(row: Row, rows: Sequence[Row]) -> Cell:
    """The row's heading."""
    note = "" if row.title.casefold() == row.label.casefold() else row.title
    return Cell(row.label, sort=row.position, note=note, swatch=style_of(row, rows).colour, under=row.kind)


def run_label(row: Row, run: Run, rows: Sequence[Row]) -> str:
    """The row's label and the seed; the source too where the rows have several."""
    several = len({own.info.source for other in rows for own in other.runs}) > 1
    return f"{row.label} s{run.info.seed}" + (f", {run.info.source}" if several else "")


def spread_cell(
    row: Row, measure: Measure, digits: int, *, scale: float = 1, strong: bool = False, interval: bool = False
) -> Cell:
    """Mean ± standard deviation; says so when fewer runs than the row has were measured.

    ``interval`` adds the t-interval of the mean on the second line.
    """
    found = row.spread(measure)
    if found is None:
        return Cell(fmt.DASH)
    note = "" if found.n == len(row.runs) else f"n = {found.n}"
    if interval:
        note = f"{fmt.between(found.interval, digits, scale=scale)} {note}".strip()
    return Cell(fmt.pm(found, digits, scale=scale), sort=scale * found.mean, note=note, strong=strong)


def difference_cell(value: Difference | None, digits: int, scale: float, *, good: str, same: bool = False) -> Cell:
    """A mean difference, bold and coloured where `Difference.sign` shows one; ``good`` is the sign that is better."""
    if value is None:
        return Cell("reference" if same else fmt.DASH)
    shown = value.sign in ("higher", "lower")
    tone = ("good" if value.sign == good else "bad") if shown else ""
    note, text = difference_note(value, digits, scale), fmt.difference(value, digits, scale=scale)
    return Cell(text, sort=scale * value.mean, note=note, strong=shown, tone=tone)


def difference_note(value: Difference, digits: int, scale: float = 1) -> str:
    """The simultaneous interval, and on a line of its own whether it shows a difference."""
    note = fmt.interval(value, digits, scale=scale)
    if value.sign == "few":
        return note
    return f"{note}\n{'shown' if value.sign in ('higher', 'lower') else 'inconclusive'}"


def spread_data(name: str, found: Spread | None, scale: float = 1) -> dict[str, Value]:
    """Mean, deviation, interval and number of runs as flat fields."""
    if found is None:
        return {name: None, f"{name}_sd": None, f"{name}_low": None, f"{name}_high": None, f"{name}_n": 0}
    deviation = None if found.sd is None else scale * found.sd
    low, high = (None, None) if found.interval is None else (scale * end for end in found.interval)
    data: dict[str, Value] = {name: scale * found.mean, f"{name}_sd": deviation}
    return data | {f"{name}_low": low, f"{name}_high": high, f"{name}_n": found.n}


def difference_data(name: str, found: Difference | None, scale: float) -> dict[str, Value]:
    """Mean, the intervals there are, number of pairs and of comparisons as flat fields."""
    data: dict[str, Value] = {name: None if found is None else scale * found.mean}
    kinds: list[tuple[str, tuple[float, float] | None]] = [(name, None), (f"{name}_simultaneous", None)]
    if found is not None:
        kinds = [(name, found.interval), (f"{name}_simultaneous", found.simultaneous)]
        kinds += [(f"{name}_pictures", found.crossed)] if found.crossed else []
    for field, ends in kinds:
        low, high = (None, None) if ends is None else (scale * end for end in ends)
        data |= {f"{field}_low": low, f"{field}_high": high}
    return data | {f"{name}_pairs": found.n if found else 0, f"{name}_comparisons": found.comparisons if found else 0}
