"""Hyperspherical energy against the bare matrix product, torch.pdist and scipy's pdist, and its accuracy.

    python benchmarks/energy.py                 # about a minute and a half on 2 quiet cores
    python benchmarks/energy.py --rows 4000     # a quick look
    python benchmarks/energy.py --out energy.json

Every ratio comes from runs that alternate in one process; the least of the repeats is taken on both sides, because
other work on the machine only ever adds time. Columns: wall clock, and processor time of all threads, which suffers
less from neighbours.
"""

import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from scipy.spatial.distance import pdist

from csg_analysis.energy import hyperspherical_energy
from csg_train.files import write_json

ORDERS = (0, 1, 2)
SPREADS = (1.0, 0.1, 0.01, 1e-3, 1e-4)


def clusters(n: int, d: int, spread: float, count: int, copies: int = 0) -> np.ndarray:
    """Unit centres with normal noise of length about ``spread``; the last rows repeat the first."""
    generator = np.random.default_rng(0)
    centres = generator.standard_normal((count, d), dtype=np.float32)
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    rows = generator.standard_normal((n, d), dtype=np.float32)
    rows *= np.float32(spread / d**0.5)
    rows += centres[generator.integers(count, size=n)]
    if copies:
        rows[-copies:] = rows[:copies]
    return rows


def bare_product(rows: torch.Tensor, block: int = 2048) -> None:
    """The float32 products of the upper triangle's blocks and nothing else: what no exact method can avoid."""
    out = torch.empty(block, block)
    for top in range(0, len(rows), block):
        for left in range(top, len(rows), block):
            high, wide = rows[top : top + block], rows[left : left + block]
            torch.mm(high, wide.T, out=out[: len(high), : len(wide)])


def from_distances(distance: Any) -> list[float]:
    """The energies of the listed distances, NumPy or torch, coincident pairs excluded."""
    logarithm = np.log if isinstance(distance, np.ndarray) else torch.log
    distance = distance[distance >= 1e-12]
    return [float((-logarithm(distance) if s == 0 else distance**-s).mean()) for s in ORDERS]


def unit(rows: np.ndarray) -> np.ndarray:
    wide = rows.astype(np.float64)
    return wide / np.linalg.norm(wide, axis=1, keepdims=True)


def alternate(repeats: int, **tasks: Callable[[], object]) -> dict[str, tuple[float, float]]:
    """The least wall-clock and processor seconds of each task, run in turn."""
    best = dict.fromkeys(tasks, (np.inf, np.inf))
    for _ in range(repeats):
        for name, task in tasks.items():
            wall, processor = time.perf_counter(), time.process_time()
            task()
            spent = time.perf_counter() - wall, time.process_time() - processor
            best[name] = (min(best[name][0], spent[0]), min(best[name][1], spent[1]))
    return best


def against_product(n: int, d: int, repeats: int) -> list[dict[str, Any]]:
    records = []
    for name, spread, count in (("spread-out", 1.0, 1), ("12 tight clusters", 1e-3, 12)):
        rows = torch.from_numpy(clusters(n, d, spread, count))
        hyperspherical_energy(rows[:1100])
        best = alternate(
            repeats, bare=lambda rows=rows: bare_product(rows), ours=lambda rows=rows: hyperspherical_energy(rows)
        )
        wall, processor = (best["ours"][kind] / best["bare"][kind] for kind in (0, 1))
        records.append({"features": name, "seconds": best, "wall_ratio": wall, "processor_ratio": processor})
        click.echo(
            f"N={n} d={d} {name:18}  product {best['bare'][0]:7.3f} s  energy {best['ours'][0]:7.3f} s  "
            f"ratio {wall:5.2f}  (processor time {processor:5.2f})"
        )
    return records


def against_pdist(n: int, d: int, repeats: int) -> dict[str, Any]:
    rows = clusters(n, d, 1.0, 1)
    best = alternate(
        repeats,
        ours=lambda: hyperspherical_energy(rows),
        torch_pdist=lambda: from_distances(torch.pdist(torch.nn.functional.normalize(torch.from_numpy(rows)))),
        scipy_pdist=lambda: from_distances(pdist(unit(rows))),
    )
    ratios = {name: best[name][0] / best["ours"][0] for name in ("torch_pdist", "scipy_pdist")}
    click.echo(
        f"N={n} d={d} energy {best['ours'][0]:.3f} s; torch.pdist (float32) takes {ratios['torch_pdist']:.1f} times "
        f"as long, scipy pdist (float64) {ratios['scipy_pdist']:.1f} times"
    )
    return {"n": n, "d": d, "seconds": best, "times_as_long": ratios}


def accuracy(n: int, d: int) -> list[dict[str, Any]]:
    """Relative errors against float64 differences, beside those of torch.pdist in float32."""
    click.echo(f"\nRelative error against float64 brute force, N={n} d={d}, E_0 / E_1 / E_2")
    click.echo(f"{'clusters':>8} {'spread':>7} {'copies':>6}   {'energy':27}   torch.pdist, float32")
    records = []
    for count in (1, 12):
        for spread in SPREADS:
            for copies in (0, 50):
                rows = clusters(n, d, spread, count, copies)
                exact = from_distances(pdist(unit(rows)))
                energy = hyperspherical_energy(rows, s=ORDERS)
                single = from_distances(torch.pdist(torch.from_numpy(unit(rows)).float()))
                ours = [abs(energy.paper[s].value / true - 1) for s, true in zip(ORDERS, exact, strict=True)]
                theirs = [abs(value / true - 1) for value, true in zip(single, exact, strict=True)]
                text = ["  ".join(f"{error:7.1e}" for error in errors) for errors in (ours, theirs)]
                click.echo(f"{count:8} {spread:7g} {energy.coincident_pairs:6}   {text[0]:27}   {text[1]}")
                records.append(
                    {"clusters": count, "spread": spread, "copies": copies, "errors": ours, "torch_pdist": theirs}
                )
    return records


@click.command(help=__doc__.split("\n")[0])
@click.option("--rows", "n", default=20_000, show_default=True, help="Rows beside the bare product.")
@click.option("--dim", "d", default=2048, show_default=True, help="Dimensions.")
@click.option("--small", default=2000, show_default=True, help="Rows beside the two pdist.")
@click.option("--repeats", default=3, show_default=True, help="Runs of each; the least time counts.")
@click.option("--out", type=click.Path(path_type=Path), help="Write the numbers as JSON.")
def main(n: int, d: int, small: int, repeats: int, out: Path | None) -> None:
    click.echo(f"torch {torch.__version__}, {torch.get_num_threads()} threads, {platform.processor() or 'CPU'}")
    result = {
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "product": against_product(n, d, repeats),
        "pdist": against_pdist(small, d, min(repeats, 2)),
        "accuracy": accuracy(2000, 128),
    }
    if out is not None:
        write_json(out, result)


if __name__ == "__main__":
    main()
