"""Colour and marker of each method, the same in every chart."""

from dataclasses import dataclass

__all__ = ["KNOWN", "OTHERS", "Style", "published_style"]


@dataclass(frozen=True)
class Style:
    """Both differ from row to row, so colour is never needed alone; every colour reads on white and on near black."""

    colour: str
    marker: str


KNOWN = {
    "oracle": Style("#868c96", "s"),
    "baseline": Style("#dd5a45", "o"),
    "csg": Style("#3a86d4", "D"),
    "weight-l2": Style("#9a6dd7", "v"),
    "ewc": Style("#9b7653", "h"),
    "si": Style("#c98a1b", "^"),
    "feature-l2": Style("#2a9fa3", "p"),
    "asg": Style("#3c9d6b", "<"),
}
OTHERS = (
    Style("#d05f9d", ">"),
    Style("#7a8f2f", "P"),
    Style("#5f74d9", "X"),
    Style("#c2603a", "*"),
    Style("#4c9db8", "8"),
)


def published_style(method: str) -> Style:
    """Of any method, without rows beside it: as in our own charts, and one for all that have none of their own."""
    return KNOWN.get(method, OTHERS[0])
