"""Time and memory of the three energies together, beside the bare matrix product, scipy, torch and KeOps."""

import numpy as np
import pytest
import torch

from benchmarks.clouds import clusters
from benchmarks.memory import memory_beside
from benchmarks.ways import OURS, WAYS
from csg_analysis.energy.energy import hyperspherical_energy


def _product(rows: torch.Tensor, block: int = 2048) -> None:
    out = torch.empty(block, block)
    for top in range(0, len(rows), block):
        for left in range(top, len(rows), block):
            high, wide = rows[top : top + block], rows[left : left + block]
            torch.mm(high, wide.T, out=out[: len(high), : len(wide)])


_PRODUCT = {"bare product": _product, OURS: hyperspherical_energy}
_CLOUDS = {"spread out": (1.0, 1), "12 clusters of spread 1e-3": (1e-3, 12)}


@pytest.mark.parametrize("program", _PRODUCT)
@pytest.mark.parametrize("cloud", _CLOUDS)
@pytest.mark.parametrize(("n", "d", "rounds"), [pytest.param(3000, 256, 1, marks=pytest.mark.quick), (20_000, 2048, 5)])
def test_beside_product(benchmark, program, cloud, n, d, rounds):
    """The energies beside the float32 products of all pairs and nothing else, which no exact method can avoid."""
    benchmark.group = f"N = {n:,}, d = {d:,}, {cloud}"
    rows = torch.from_numpy(clusters(n, d, *_CLOUDS[cloud]))
    benchmark.pedantic(_PRODUCT[program], (rows,), rounds=rounds, warmup_rounds=1)


@pytest.mark.parametrize("program", WAYS)
@pytest.mark.parametrize(
    ("n", "d", "rounds"),
    [pytest.param(1500, 32, 1, marks=pytest.mark.quick), (5000, 64, 5), (5000, 512, 5), (10_000, 256, 5)],
)
def test_beside_others(benchmark, tmp_path, program, n, d, rounds):
    """The energies beside other ways to them."""
    benchmark.group = f"N = {n:,}, d = {d:,}"
    rows = clusters(n, d, 1.0, 1)
    WAYS[program](rows)  # KeOps compiles here
    benchmark.pedantic(WAYS[program], (rows,), rounds=rounds)
    np.save(path := tmp_path / "rows.npy", rows)
    benchmark.extra_info["memory"] = f"{memory_beside(path, program):,.0f} MB"
