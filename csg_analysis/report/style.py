"""Colour and marker of each row, the same in every chart and table of a report."""

from collections.abc import Sequence

from csg_analysis.drawing.style import KNOWN, OTHERS, Style
from csg_analysis.report.rows import Row

__all__ = ["style_of"]


def style_of(row: Row, rows: Sequence[Row]) -> Style:
    """Fixed for a known method's first row; by position for further configurations and for other methods."""
    if row.method in KNOWN and _is_first(row, rows):
        return KNOWN[row.method]
    others = [other for other in rows if other.method not in KNOWN or not _is_first(other, rows)]
    return OTHERS[others.index(row) % len(OTHERS)]


def _is_first(row: Row, rows: Sequence[Row]) -> bool:
    return next(other for other in rows if other.method == row.method) is row
