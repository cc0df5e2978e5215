"""Every benchmark of the energies, of GradCAM, of loading pictures and of a GPU, written as one page.

    python -m benchmarks                                     # reports/benchmarks.md
    python -m benchmarks --quick --out page.md               # small sizes, no figures to quote: shows that it runs
    python -m pytest -p benchmark benchmarks/test_energy.py  # one file, pytest-benchmark's own table

The machine should be quiet; the page says how busy it was.
"""

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import torch

from benchmarks import accuracy, gpu_section, memory, table1
from benchmarks.tables import compared, grouped, table
from csg_train.engine.step_clock import processor
from csg_train.files import write_text

_ROOT = Path(__file__).parents[1]
_PACKAGES = ("torch", "numpy", "scipy", "pykeops", "captum", "grad-cam", "torchcam", "pillow", "pytest-benchmark")


def _version(package: str) -> str:
    try:
        return f"{package} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        return f"{package} not installed"


def _machine(quick: bool, load: float) -> str:
    changed = gpu_section.git("status", "--porcelain", "benchmarks", "csg_analysis", "csg_train")
    return (
        f"`python -m benchmarks{' --quick' if quick else ''}` writes this page; nothing in it is typed by hand. "
        f"Commit {gpu_section.commit_here()}{' with uncommitted changes' * bool(changed)}. "
        f"{processor()}, {os.cpu_count()} cores, {torch.get_num_threads()} threads, load {load:.1f} before the start; "
        f"Python {platform.python_version()}, "
        f"{', '.join(map(_version, _PACKAGES))}."
    )


def _timed(quick: bool) -> dict[str, Any]:
    """The JSON of pytest-benchmark, with what was skipped."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "timed.json"
        chosen = ["-m", "quick" if quick else "not quick", "-W", "default"]  # other packages may warn
        options = ["-p", "benchmark", f"--benchmark-json={path}", "--benchmark-quiet", *chosen]
        subprocess.run([sys.executable, "-m", "pytest", *options, "benchmarks"], cwd=_ROOT, check=True)  # noqa: S603
        return json.loads(path.read_text(encoding="utf-8"))


def _cache(timed: dict[str, Any]) -> str:
    rows = []
    for views, runs in grouped(timed, "test_cache").items():
        decoding, cache = (1e3 * run["stats"]["median"] / run["params"]["pictures"] for run in runs)
        rows.append([views, f"{decoding:.2f}", f"{cache:.2f}", f"{decoding / cache:.2f} x"])
    return table(["an epoch of", "decoding, ms a picture", "cache, ms a picture", "decoding / cache"], rows)


def _page(quick: bool, load: float) -> str:
    start = time.monotonic()
    timed = _timed(quick)
    parts = [
        "# Benchmarks",
        _machine(quick, load),
        "pytest-benchmark times one program after another, each in rounds after one that does not count. Beside the "
        "median stands the least: other work on the machine only adds time and may meet one program alone, so the "
        "ratio of the least times is the one to quote.",
        "## Energies beside the bare matrix product",
        "E₀, E₁, E₂ of all pairs with intervals, beside the float32 products of the same pairs and nothing else (1 x).",
        compared(timed, "test_beside_product"),
        "## Energies beside other ways to them",
        "The same three energies of spread-out float32 features; ours is 1 x and the only one with intervals and a "
        "count of coincident pairs. Memory: beside the features, each in a process of its own. scipy uses one thread.",
        compared(timed, "test_beside_others"),
        "## Accuracy as features collapse",
        "The largest relative error of E₀, E₁, E₂ against float64 differences, coincident pairs left out. The Gram "
        "matrix is float32 as in MHE's code; it cannot know coincident pairs, and pairs that it puts at or below 0 are "
        "left out here, where MHE's code clamps them. E₀ of spread 1 is itself near 0.",
        accuracy.section(quick),
        "## Memory whatever N",
        "Features mapped from disk, 12 clusters of spread 1e-3; the bound is 256 MB.",
        memory.section(quick),
        "## GradCAM",
        "grad_cam and two other packages with the same network, layer, pictures and classes: time for all pictures, "
        "and the largest difference from our map over the largest value. torchcam's maps are compared on the "
        "gradient's own scale, upsampled as ours; those of pytorch-grad-cam, which scales them to [0, 1], with ours "
        "scaled likewise.",
        compared(timed, "test_grad_cam"),
        "## Pictures from the cache",
        "One thread; JPEGs of 500 x 375 pixels, noise with the spectrum of photographs, about 115 kB each; views of "
        "224 x 224. Processor time without workers, medians: loading, views and batches, no network.",
        _cache(timed),
        "Time on the clock with workers, their start included: one view, RandAugment. No network computes meanwhile, "
        "which is what workers are for.",
        compared(timed, "test_workers"),
        "## Table 1 obeys Jensen's inequality only under mhe",
        "With r = 1 / d, E₁ and E₂ are the means of r and r² over pairs. E₀ is that of ln r (paper) or of 2 ln r "
        "(mhe), and the exponential of a mean is at most the mean of the exponentials. The published numbers break "
        "this in every row if E₀ follows the paper's equation, and in none if it follows MHE's code.",
        table1.section(),
        "## On a GPU",
        "Steps and measuring beside the least that the same card needs, epochs and the hours of runs from them; "
        "`python -m benchmarks.gpu` writes it to `reports/gpu.json`.",
        gpu_section.section(quick),
    ]
    parts.insert(2, f"All of it took {time.monotonic() - start:.0f} s.")
    return "\n\n".join(parts) + "\n"


@click.command(help="Run every benchmark and write one page.")
@click.option("--quick", is_flag=True, help="Small sizes.")
@click.option("--out", type=click.Path(path_type=Path), default=_ROOT / "reports" / "benchmarks.md", show_default=True)
def main(quick: bool, out: Path) -> None:
    write_text(out, _page(quick, os.getloadavg()[0]))
    click.echo(out)


if __name__ == "__main__":
    main()
