"""Numbers as text: one rule each, a real minus sign, never more digits than carry meaning."""

from csg_analysis.drawing.numbers import DASH, MINUS, fixed
from csg_analysis.report.stats import Difference, Spread

__all__ = ["DASH", "MINUS", "between", "difference", "ends", "fixed", "interval", "percent", "pm", "signed"]

_FIRM = "\N{NO-BREAK SPACE}"
_MOST = 6
_NARROW = "\N{NARROW NO-BREAK SPACE}"


def signed(value: float, digits: int) -> str:
    """A number with its sign."""
    text = fixed(value, digits)
    return text if text.startswith(MINUS) or float(text) == 0 else f"+{text}"


def percent(value: float | None, digits: int = 1) -> str:
    """A share as a number of percent, without the sign."""
    return fixed(None if value is None else 100 * value, digits)


def pm(spread: Spread | None, digits: int, *, scale: float = 1) -> str:
    """Mean ± standard deviation; the mean alone for a single run."""
    if spread is None:
        return DASH
    mean = fixed(scale * spread.mean, digits)
    return mean if spread.sd is None else f"{mean}{_NARROW}±{_NARROW}{fixed(scale * spread.sd, digits)}"


def interval(value: Difference, digits: int, *, scale: float = 1) -> str:
    """The simultaneous interval in brackets, over pictures too where that is known, or why there is none."""
    if value.decisive is None:
        return f"too few runs for an interval, n{_FIRM}={_FIRM}{value.n}"
    return ends(value.decisive, digits, scale=scale)


def ends(between: tuple[float, float] | None, digits: int, *, scale: float = 1) -> str:
    """An interval of a difference in brackets; with more digits where an end would be rounded to 0."""
    if between is None:
        return DASH
    while any(round(scale * end, digits) == 0 != round(scale * end, _MOST) for end in between):
        digits += 1
    low, high = (signed(scale * end, digits) for end in between)
    return f"[{low},{_FIRM}{high}]"


def between(ends: tuple[float, float] | None, digits: int, *, scale: float = 1) -> str:
    """An interval of a value in brackets; nothing where there is none."""
    return "" if ends is None else f"[{', '.join(fixed(scale * end, digits) for end in ends)}]"


def difference(value: Difference | None, digits: int, *, scale: float = 1) -> str:
    """A mean difference with its sign."""
    return DASH if value is None else signed(scale * value.mean, digits)
