"""Colour and marker of each row, the same in every chart and table."""

from collections.abc import Sequence
from dataclasses import dataclass

from csg_analysis.report.rows import Row

__all__ = ["Style", "published_style", "style_of"]


@dataclass(frozen=True)
class Style:
    """Both differ from row to row, so colour is never needed alone; every colour reads on white and on near black."""

    colour: str
    marker: str


_KNOWN = {
    "oracle": Style("#868c96", "s"),
    "baseline": Style("#dd5a45", "o"),
    "csg": Style("#3a86d4", "D"),
    "weight-l2": Style("#9a6dd7", "v"),
    "ewc": Style("#9b7653", "h"),
    "si": Style("#c98a1b", "^"),
    "feature-l2": Style("#2a9fa3", "p"),
    "asg": Style("#3c9d6b", "<"),
}
_OTHERS = (
    Style("#d05f9d", ">"),
    Style("#7a8f2f", "P"),
    Style("#5f74d9", "X"),
    Style("#c2603a", "*"),
    Style("#4c9db8", "8"),
)


def published_style(method: str) -> Style:
    """Of a method of the paper's table: as in our own charts."""
    return _KNOWN.get(method, _OTHERS[0])


def style_of(row: Row, rows: Sequence[Row]) -> Style:
    """Fixed for a known method's first row; by position for further configurations and for other methods."""
    if row.method in _KNOWN and _is_first(row, rows):
        return _KNOWN[row.method]
    others = [other for other in rows if other.method not in _KNOWN or not _is_first(other, rows)]
    return _OTHERS[others.index(row) % len(_OTHERS)]


def _is_first(row: Row, rows: Sequence[Row]) -> bool:
    return next(other for other in rows if other.method == row.method) is row
