"""Four ways to E_0, E_1 and E_2 of all pairs, in the paper's convention; each normalises the rows itself."""

import os
from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.spatial.distance import pdist

from benchmarks.clouds import unit
from csg_analysis.energy.energy import hyperspherical_energy

__all__ = ["OURS", "WAYS", "energies"]

OURS = "ours"
_KEOPS_WIDEST = 100


def energies(distance: np.ndarray | torch.Tensor) -> list[float]:
    """The three energies of listed distances, in the precision that these have."""
    inverse = 1 / distance
    logarithm = np.log(inverse) if isinstance(inverse, np.ndarray) else torch.log(inverse)
    return [float(logarithm.mean()), float(inverse.mean()), float((inverse * inverse).mean())]


def _ours(rows: np.ndarray) -> list[float]:
    return [estimate.value for estimate in hyperspherical_energy(rows).paper.values()]


def _scipy(rows: np.ndarray) -> list[float]:
    return energies(pdist(unit(rows)))


def _torch(rows: np.ndarray) -> list[float]:
    return energies(torch.pdist(F.normalize(torch.from_numpy(rows))))


def _keops(rows: np.ndarray) -> list[float]:
    """One symbolic reduction over all ordered pairs, in which a row is at distance 1 from itself."""
    n, d = rows.shape
    if d > _KEOPS_WIDEST:
        pytest.skip(f"not run above d = {_KEOPS_WIDEST}, where it takes minutes")
    os.environ.setdefault("PYKEOPS_VERBOSE", "0")
    LazyTensor = pytest.importorskip("pykeops.torch").LazyTensor
    unit_ND, index_N1 = F.normalize(torch.from_numpy(rows)), torch.arange(n, dtype=torch.float32)[:, None]
    itself = (1 - (LazyTensor(index_N1[:, None]) - LazyTensor(index_N1[None])) ** 2).relu()
    squared = ((LazyTensor(unit_ND[:, None]) - LazyTensor(unit_ND[None])) ** 2).sum(-1) + itself
    terms = (-0.5 * squared.log()).concat(squared.rsqrt()).concat(1 / squared)
    zero, one, two = terms.sum(1).double().sum(0).tolist()
    return [zero / n / (n - 1), (one - n) / n / (n - 1), (two - n) / n / (n - 1)]


WAYS: dict[str, Callable[[np.ndarray], list[float]]] = {
    OURS: _ours,
    "scipy pdist, float64": _scipy,
    "torch.pdist, float32": _torch,
    "KeOps, float32": _keops,
}
