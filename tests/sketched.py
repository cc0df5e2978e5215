"""Figures that are made but not rendered, nine tenths of a report's time: for tests of its words and numbers."""

from collections.abc import Callable

from csg_analysis.drawing import svg

__all__ = ["render", "sketch"]

_REAL = {"_svg": svg._svg, "_png": svg._png}
_STUBS = {"_svg": lambda _figure: '<svg viewBox="0 0 1 1"></svg>', "_png": lambda _figure: b"not rendered"}


def sketch(put: Callable[[object, str, object], None]) -> None:
    """Render no figure from now on; ``put`` as `pytest.MonkeyPatch.setattr`."""
    for name, stub in _STUBS.items():
        put(svg, name, stub)


def render(put: Callable[[object, str, object], None]) -> None:
    """Render them although they were not."""
    for name, real in _REAL.items():
        put(svg, name, real)
