"""Memory beside the features, each measured in a process of its own.

    python -m benchmarks.memory FILE.npy "torch.pdist, float32"

prints the largest anonymous memory (RssAnon, looked at every 2 ms) less that before the start, in MB: pages of a mapped
file, which the system can drop at any time, are not in it.
"""

import contextlib
import ctypes
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import click
import numpy as np

from benchmarks.clouds import clusters
from benchmarks.tables import table
from benchmarks.ways import WAYS
from csg_analysis.energy.energy import hyperspherical_energy, sampled_energy

__all__ = ["memory_beside", "section", "watched"]

_TASKS: dict[str, Callable[[np.ndarray], object]] = {
    **WAYS,
    "all pairs": hyperspherical_energy,
    "all pairs, labels": lambda rows: hyperspherical_energy(rows, labels=np.arange(len(rows)) % 7),
    "2 N sampled pairs": lambda rows: sampled_energy(rows, pairs=2 * len(rows), seed=0),
}
_CASES = (
    ("all pairs", 20_000, 512),
    ("all pairs, labels", 50_000, 64),
    ("all pairs", 150_000, 64),
    ("2 N sampled pairs", 100_000, 512),
    ("2 N sampled pairs", 4_000_000, 16),
)
_QUICK = (("all pairs", 3000, 64), ("2 N sampled pairs", 20_000, 64))


def memory_beside(path: Path, task: str) -> float:
    """Megabytes that a task takes beside the features in a .npy file."""
    command = [sys.executable, "-m", "benchmarks.memory", str(path), task]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603
    return float(output.splitlines()[-1])


def section(quick: bool) -> str:
    """Memory of the streamed energies, features mapped from disk, 12 clusters of spread 1e-3."""
    rows = []
    for task, n, d in _QUICK if quick else _CASES:
        with TemporaryDirectory() as folder:
            path = Path(folder) / "rows.npy"
            np.save(path, clusters(n, d, 1e-3, 12))
            rows.append(
                [task, f"{n:,}", f"{d:,}", f"{4 * n * d / 2**20:,.0f} MB", f"{memory_beside(path, task):,.0f} MB"]
            )
    return table(["Pairs", "N", "d", "features, on disk", "memory beside them"], rows)


def _anonymous() -> float:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


@contextlib.contextmanager
def watched() -> Iterator[list[float]]:
    """The largest anonymous memory within, less that before, in MB: one number, which counts at the end."""
    ctypes.CDLL(None).malloc_trim(0)  # what the libraries need, and not what they could give back
    before, peak, stop = _anonymous(), [0.0], threading.Event()

    def watch() -> None:
        while not stop.wait(0.002):
            peak[0] = max(peak[0], _anonymous() - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        stop.set()
        watcher.join()


@click.command()
@click.argument("path")
@click.argument("task", type=click.Choice(list(_TASKS)))
def main(path: str, task: str) -> None:
    rows = np.load(path, mmap_mode="c" if task in WAYS else "r")
    _TASKS[task](rows[:1100])  # what the libraries keep
    with watched() as peak:
        _TASKS[task](rows)
    click.echo(peak[0])


if __name__ == "__main__":
    main()
