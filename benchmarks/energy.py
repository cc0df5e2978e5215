"""Time and memory of the three energies together, beside the bare matrix product, scipy, torch and KeOps."""

from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from benchmarks.clouds import clusters
from benchmarks.memory import memory_beside
from benchmarks.turns import TIMES, table, take_turns
from benchmarks.ways import OURS, WAYS
from csg_analysis.energy import hyperspherical_energy

__all__ = ["beside_others", "beside_product"]


def beside_product(quick: bool) -> str:
    """The energies beside the float32 products of all pairs and nothing else, which no exact method can avoid."""
    n, d, repeats = (3000, 256, 1) if quick else (20_000, 2048, 3)
    lines = []
    for name, spread, count in (("spread out", 1.0, 1), ("12 clusters of spread 1e-3", 1e-3, 12)):
        rows = torch.from_numpy(clusters(n, d, spread, count))
        hyperspherical_energy(rows[:1100])
        spent = take_turns(
            repeats, {"bare product": partial(_product, rows), OURS: partial(hyperspherical_energy, rows)}
        )
        lines += [[f"{name}: {way}", *own.cells(spent["bare product"])] for way, own in spent.items()]
    return table([f"N = {n:,}, d = {d:,}", *TIMES], lines)


def _product(rows: torch.Tensor, block: int = 2048) -> None:
    out = torch.empty(block, block)
    for top in range(0, len(rows), block):
        for left in range(top, len(rows), block):
            high, wide = rows[top : top + block], rows[left : left + block]
            torch.mm(high, wide.T, out=out[: len(high), : len(wide)])


def beside_others(quick: bool) -> str:
    """The energies beside other ways to them, one table for each size."""
    shapes = [(1500, 32)] if quick else [(5000, 64), (5000, 512), (10_000, 256)]
    return "\n\n".join(_beside_others(n, d, 1 if quick else 3) for n, d in shapes)


def _beside_others(n: int, d: int, repeats: int) -> str:
    rows = clusters(n, d, 1.0, 1)
    tasks, failed = {}, {}
    for name, way in WAYS.items():
        try:
            way(rows)  # KeOps compiles here
            tasks[name] = partial(way, rows)
        except Exception as error:  # other ways are optional, and their rows say what stops them
            if name == OURS:
                raise
            failed[name] = str(error).partition("\n")[0] or type(error).__name__
    spent = take_turns(repeats, tasks)
    with TemporaryDirectory() as folder:
        np.save(path := Path(folder) / "rows.npy", rows)
        lines = [[way, *own.cells(spent[OURS]), f"{memory_beside(path, way):,.0f} MB"] for way, own in spent.items()]
    lines += [[f"{way}: {why}", *["-"] * 5] for way, why in failed.items()]
    return table([f"N = {n:,}, d = {d}", *TIMES, "memory"], lines)
