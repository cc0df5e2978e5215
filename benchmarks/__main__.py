"""Every benchmark of the energies and of GradCAM, written as one page.

    python -m benchmarks                          # reports/benchmarks.md
    python -m benchmarks --quick --out page.md    # small sizes, no figures to quote: shows that everything runs

The machine should be quiet; the page says how busy it was.
"""

import importlib.metadata
import os
import platform
import subprocess
import time
from pathlib import Path

import click
import torch

from benchmarks import accuracy, energy, gradcam, memory, table1
from csg_train.files import write_text

_ROOT = Path(__file__).parents[1]
_PACKAGES = ("torch", "numpy", "scipy", "pykeops", "captum", "grad-cam", "torchcam")


def _version(package: str) -> str:
    try:
        return f"{package} {importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        return f"{package} not installed"


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=_ROOT, capture_output=True, text=True, check=False)  # noqa: S603, S607
    return done.stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _machine(quick: bool, load: float) -> str:
    changed = " with uncommitted changes" if _git("status", "--porcelain", "benchmarks", "csg_analysis") else ""
    return (
        f"`python -m benchmarks{' --quick' if quick else ''}` writes this page; nothing in it is typed by hand. "
        f"Commit {_git('rev-parse', '--short', 'HEAD') or 'unknown'}{changed}. {_processor()}, {os.cpu_count()} cores, "
        f"{torch.get_num_threads()} threads, load {load:.1f} before the start; Python {platform.python_version()}, "
        f"{', '.join(map(_version, _PACKAGES))}."
    )


def _page(quick: bool, load: float) -> str:
    start = time.monotonic()
    parts = [
        "# Benchmarks",
        _machine(quick, load),
        "Programs take turns in one process; times are medians. *Processor* is the time of all threads, which suffers "
        "less from other work on the machine than the clock; a ratio stands beside each.",
        "## Energies beside the bare matrix product",
        "E₀, E₁, E₂ of all pairs with intervals, beside the float32 products of the same pairs and nothing else (1 x).",
        energy.beside_product(quick),
        "## Energies beside other ways to them",
        "The same three energies of spread-out float32 features; ours is 1 x and the only one with intervals and a "
        "count of coincident pairs. Memory: beside the features, each in a process of its own. scipy uses one thread.",
        energy.beside_others(quick),
        "## Accuracy as features collapse",
        "The largest relative error of E₀, E₁, E₂ against float64 differences, coincident pairs left out. The Gram "
        "matrix is float32 as in MHE's code; it cannot know coincident pairs, and pairs that it puts at or below 0 are "
        "left out here, where MHE's code clamps them. E₀ of spread 1 is itself near 0.",
        accuracy.section(quick),
        "## Memory whatever N",
        "Features mapped from disk, 12 clusters of spread 1e-3; the bound is 256 MB up to a million rows.",
        memory.section(quick),
        "## GradCAM",
        "Seconds a picture of grad_cam and of two other packages with the same network, layer, pictures and classes, "
        "and the largest difference from our map over the largest value. torchcam's maps are compared on the "
        "gradient's own scale, upsampled as ours; those of pytorch-grad-cam, which scales them to [0, 1], with ours "
        "scaled likewise.",
        gradcam.section(quick),
        "## Table 1 obeys Jensen's inequality only under mhe",
        "With r = 1 / d, E₁ and E₂ are the means of r and r² over pairs. E₀ is that of ln r (paper) or of 2 ln r "
        "(mhe), and the exponential of a mean is at most the mean of the exponentials. The published numbers break "
        "this in every row if E₀ follows the paper's equation, and in none if it follows MHE's code.",
        table1.section(),
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
