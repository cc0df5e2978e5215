"""What a panel of rows holds, in bytes, where rows are short and clusters many."""

import pytest

from csg_analysis.pairs import _PANEL_BYTES, _Engine
from csg_analysis.unit_rows import UnitRows
from tests.analysis.energy_cases import clusters


@pytest.mark.parametrize(("d", "count"), [(8, 40), (64, 40), (8, 1)])
def test_panel_counts_the_offsets_to_every_centre(d, count):
    """At d = 8 a row's offsets are five times its residuals; a million rows would take 0.4 GB if they did not count."""
    engine = _Engine(UnitRows(clusters(3000, d, 1e-5, count)), (0.0,), None, None, 1)
    side = engine.load(next(engine.pieces()))
    row_bytes = side.residual.element_size() * d + side.offset.element_size() * side.offset.shape[1]
    assert side.offset.shape[1] > count // 2
    assert engine.panel * row_bytes <= _PANEL_BYTES < (engine.panel + 1) * row_bytes
