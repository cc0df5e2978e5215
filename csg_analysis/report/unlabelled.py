"""What a report says of a target without labels: that nobody knows the accuracy there."""

from collections.abc import Iterable

from csg_analysis.report.load import Run
from csg_analysis.report.wording import wording_of

__all__ = ["UNKNOWN", "unknown_score"]

UNKNOWN = "unknown"
"""In a cell, where a dash would say that nobody measured."""


def unknown_score(runs: Iterable[Run]) -> str:
    """That the target has no labels, as a sentence; empty where every run has a score of it, or none was measured."""
    own = [run for run in runs if "target" in run.unlabelled and "target" not in run.scores]
    if not own:
        return ""
    shown = sorted({f"{data.name}, {data.count} pictures" for run in own for data in [run.unlabelled["target"].data]})
    return f"The target has no labels ({' / '.join(shown)}): {wording_of(own).score} on it is unknown."
