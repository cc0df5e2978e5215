"""Runs and a report that several test files read."""

from pathlib import Path

import pytest

from csg_analysis.report.build import build
from tests.analysis.report_cases import NO_DIFFERENCE, write_all


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three methods, three seeds, no difference; read only."""
    return write_all(tmp_path_factory.mktemp("report") / "runs", NO_DIFFERENCE)


@pytest.fixture(scope="session")
def report(runs: Path) -> Path:
    """The report of ``runs``; read only."""
    build([runs], runs.parent / "out", allow_mixed=False)
    return runs.parent / "out"
