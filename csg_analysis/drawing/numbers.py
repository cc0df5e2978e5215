"""A number as text, with a real minus sign."""

__all__ = ["DASH", "MINUS", "fixed"]

DASH = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"


def fixed(value: float | None, digits: int) -> str:
    """A number with fixed decimals; a dash for none."""
    if value is None:
        return DASH
    text = f"{value:.{digits}f}"
    return text.removeprefix("-") if float(text) == 0 else text.replace("-", MINUS)
