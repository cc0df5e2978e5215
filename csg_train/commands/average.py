"""``csg-train average``: one network from the weights of several."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from csg_train import engine, runs
from csg_train.commands.options import device_option
from csg_train.commands.recipe_options import source_set_option
from csg_train.console import console

if TYPE_CHECKING:
    import torch

__all__ = ["average"]


@click.command()
@click.argument("checkpoints", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--alpha",
    type=float,
    help="WiSE-FT between two checkpoints, a start and an end: (1 - alpha) START + alpha END.",
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="A new folder, for average.pt.")
@source_set_option
@device_option
def average(
    checkpoints: tuple[Path, ...], alpha: float | None, out: Path, overrides: tuple[str, ...], device: torch.device
) -> None:
    """Average the weights of CHECKPOINTS: a uniform soup of runs, or WiSE-FT with --alpha.

    Recipe, seed and pictures of the average are those of the last one; all commands of csg-analyze take it.
    """
    made, doubts = engine.average_runs(checkpoints, out, alpha=alpha, overrides=overrides, device=device)
    for line in doubts:
        console.print(line)
    console.print(f"{out / 'average.pt'}: {runs.rule_title(made)}")
