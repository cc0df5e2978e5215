"""Relative error of the energies against float64 differences, as features collapse."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from scipy.spatial.distance import pdist

from benchmarks.clouds import clusters, unit
from benchmarks.tables import table
from benchmarks.ways import energies
from csg_analysis.energy.energy import hyperspherical_energy

__all__ = ["section"]

_SPREADS = (1.0, 0.1, 0.01, 1e-3, 1e-4)


def _gram(rows: np.ndarray) -> tuple[list[float], int]:
    """Squared distances as 2 - 2 u_i . u_j in float32, as MHE's code has them; the number not above 0."""
    unit_ND = F.normalize(torch.from_numpy(rows))
    first, second = torch.triu_indices(len(rows), len(rows), 1)
    squared_P = (2 - 2 * unit_ND @ unit_ND.T)[first, second]
    kept_P = squared_P[squared_P > 0]
    return energies(kept_P.sqrt()), len(squared_P) - len(kept_P)


def _pdist(rows: np.ndarray) -> list[float]:
    distance_P = pdist(rows)
    return energies(distance_P[distance_P >= 1e-12])


def _error(values: Sequence[float], exact: Sequence[float]) -> str:
    return f"{max(abs(value / true - 1) for value, true in zip(values, exact, strict=True)):.0e}"


def section(quick: bool) -> str:
    """The largest of the three relative errors, for one cloud and 12 clusters, without and with 50 copied rows."""
    n, lines = 300 if quick else 2000, []
    for count in (1, 12):
        for spread in _SPREADS:
            for copies in (0, 50):
                rows = clusters(n, 128, spread, count, copies)
                exact = _pdist(unit(rows))
                ours = hyperspherical_energy(rows)
                gram, lost = _gram(rows)
                single = _pdist(unit(rows).astype(np.float32))
                lines.append(
                    [
                        f"{'one cloud' if count == 1 else f'{count} clusters'}, spread {spread:g}",
                        str(ours.coincident_pairs),
                        _error([estimate.value for estimate in ours.paper.values()], exact),
                        _error(gram, exact) + (f" ({lost:,} pairs lost)" if lost else ""),
                        _error(single, exact),
                    ]
                )
    head = [f"N = {n:,}, d = 128", "coincident pairs", "ours", "float32 Gram, not centred", "scipy pdist, float32 rows"]
    return table(head, lines)
