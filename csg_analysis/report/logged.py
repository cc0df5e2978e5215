"""The terms that a run logged, each a curve; long ones of the loss are binned."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from csg_train.runs.training_log import read_log
from csg_train.splits import SELECTED_ON

__all__ = ["MEASURED", "Curve", "read_curves"]

MEASURED = {f"accuracy_{split}": split for split in SELECTED_ON.values()}
"""Terms that a selection rule measured, and the split that each is of: one of their steps was chosen, and is marked."""
_BINS = 120


@dataclass(frozen=True)
class Curve:
    """One logged term: means over bins of consecutive logged steps; each by itself of what a rule measured.

    Attributes:
        steps: Last step of each bin.
        values: Mean of the term over the bin.
        width: Logged steps in a bin.
    """

    steps: tuple[float, ...]
    values: tuple[float, ...]
    width: int


def read_curves(path: Path) -> tuple[dict[str, Curve], int | None]:
    """Curves of a ``log.jsonl`` by term, and its last step; nothing and None where there is no log.

    Raises:
        UserError: The log is damaged.
    """
    rows = read_log(path) if path.is_file() else []
    terms: dict[str, list[tuple[float, float]]] = {}
    for step, values in rows:
        for name, value in values.items():
            terms.setdefault(name, []).append((step, value))
    curves = {
        name: _bin(points, len(points) if name in MEASURED else _BINS)
        for name, points in terms.items()
        if name != "lr_factor"
    }
    return curves, rows[-1][0] or None if rows else None


def _bin(points: Sequence[tuple[float, float]], count: int) -> Curve:
    finite = [point for point in points if math.isfinite(point[1])]
    width = max(1, math.ceil(len(finite) / count))
    bins = [finite[start : start + width] for start in range(0, len(finite), width)]
    means = tuple(math.fsum(value for _, value in points) / len(points) for points in bins)
    return Curve(tuple(points[-1][0] for points in bins), means, width)
