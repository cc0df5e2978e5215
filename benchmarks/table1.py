"""Which convention the paper's Table 1 can follow: means over pairs obey Jensen's inequality.

With r = 1 / d of a pair, E_1 and E_2 are the means of r and r^2 in both conventions, so E_1^2 <= E_2. E_0 is the mean
of ln r ("paper") or of 2 ln r ("mhe"); the exponential is convex, so with k = 1 or 2

    exp(E_0 / k) <= E_1  and  exp(2 E_0 / k) <= E_2.
"""

import math
from collections.abc import Mapping

from benchmarks.tables import table
from csg_analysis.report.paper import published

__all__ = ["bounds", "section"]


def bounds(energy: Mapping[str, float], convention: str) -> dict[str, tuple[float, float]]:
    """For each of the two inequalities of E_0 its lesser and its greater side, which must be at least as large.

    Args:
        energy: E_0, E_1, E_2 by order "0", "1", "2".
        convention: "paper" or "mhe".
    """
    log_r = energy["0"] / (2 if convention == "mhe" else 1)
    return {"1": (math.exp(log_r), energy["1"]), "2": (math.exp(2 * log_r), energy["2"])}


def section() -> str:
    """Every published row, in both conventions."""
    lines = []
    for row in published():
        if row.energy:
            sides = [(row.energy["1"] ** 2, row.energy["2"])]
            sides += [pair for convention in ("paper", "mhe") for pair in bounds(row.energy, convention).values()]
            cells = [f"{low:.4f} {'<=' if low <= high else '**>**'} {high:.4f}" for low, high in sides]
            lines.append([row.label, *cells])
    paper, mhe = (["exp(E₀) <= E₁", "exp(2 E₀) <= E₂"], ["exp(E₀ / 2) <= E₁", "exp(E₀) <= E₂"])
    head = ["Method", "both: E₁² <= E₂", *(f"paper: {text}" for text in paper), *(f"mhe: {text}" for text in mhe)]
    return table(head, lines)
