"""Colour and marker of each row, the same in every chart and table of a report."""

from collections.abc import Sequence

from csg_analysis.drawing.style import KNOWN, OTHERS, Style
from csg_analysis.report.rows import Row

__all__ = ["style_of"]


def style_of(row: Row, rows: Sequence[Row]) -> Style:
    """Fixed for a known method's first row; by position for all others, of which 25 differ in colour or marker."""
    if row.method in KNOWN and _is_first(row, rows):
        return KNOWN[row.method]
    others = [other for other in rows if other.method not in KNOWN or not _is_first(other, rows)]
    turn, position = divmod(others.index(row), len(OTHERS))
    return Style(OTHERS[position].colour, OTHERS[(position + turn) % len(OTHERS)].marker)


def _is_first(row: Row, rows: Sequence[Row]) -> bool:
    return next(other for other in rows if other.method == row.method) is row
