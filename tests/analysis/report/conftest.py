from collections.abc import Iterator
from pathlib import Path

import pytest

from csg_analysis.drawing import svg


@pytest.fixture(scope="module")
def sketched(report: Path) -> Iterator[None]:
    """Figures are made but not rendered, nine tenths of a report's time: for tests of its words and numbers.

    That of the whole session is asked for first, so that it is rendered.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(svg, "_svg", lambda _figure: '<svg viewBox="0 0 1 1"></svg>')
        patch.setattr(svg, "_png", lambda _figure: b"not rendered")
        yield
