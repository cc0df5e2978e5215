from collections.abc import Iterator
from pathlib import Path

import pytest

from csg_analysis.drawing import svg

_REAL = {"_svg": svg._svg, "_png": svg._png}
_STUBS = {"_svg": lambda _figure: '<svg viewBox="0 0 1 1"></svg>', "_png": lambda _figure: b"not rendered"}


@pytest.fixture(scope="module")
def sketched(report: Path) -> Iterator[None]:
    """Figures are made but not rendered, nine tenths of a report's time: for tests of its words and numbers.

    That of the whole session is asked for first, so that it is rendered.
    """
    with pytest.MonkeyPatch.context() as patch:
        for name, stub in _STUBS.items():
            patch.setattr(svg, name, stub)
        yield


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are rendered in one test of a module that is `sketched`."""
    for name, real in _REAL.items():
        monkeypatch.setattr(svg, name, real)
