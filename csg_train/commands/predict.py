"""``csg-train predict``: a checkpoint on pictures of the user."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from csg_train import predictions, runs
from csg_train.commands.options import device_option
from csg_train.commands.recipe_options import checkpoint_set_option
from csg_train.console import console, progress
from csg_train.files import require_outside

if TYPE_CHECKING:
    import torch

__all__ = ["predict"]

_REPORTS = 20
"""Lines of progress where there is no terminal."""


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.argument("paths", nargs=-1, required=True, metavar="PATH...", type=click.Path(path_type=Path))
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=Path("predictions.csv"),
    show_default=True,
    help="A table, .csv or .jsonl; masks of a segmentation go to the folder of the same name.",
)
@click.option("--top", type=click.IntRange(min=1), default=1, show_default=True, help="Classes per picture.")
@click.option("--skip-broken", is_flag=True, help="Leave out pictures that cannot be read, and count them.")
@checkpoint_set_option
@device_option
def predict(
    checkpoint: Path,
    paths: tuple[Path, ...],
    out: Path,
    top: int,
    skip_broken: bool,
    overrides: tuple[str, ...],
    device: torch.device,
) -> None:
    """Predict the class of each picture at PATH (files, folders at any depth); with a segmentation, of each pixel.

    CHECKPOINT is a ckpt.pt, or a model.safetensors of csg-train export.
    """
    opened = runs.load_checkpoint(checkpoint)
    recipe = opened.resolved_recipe(overrides)
    for path in paths if recipe.segmentation is not None else ():
        require_outside(out.with_suffix(""), path)
    found = predictions.find_pictures(paths, opened.classes)
    total = len(found.images)
    with progress("pictures", total) as show:

        def report(done: int) -> None:
            if console.is_terminal or done * _REPORTS // total > (done - 1) * _REPORTS // total:
                show(done, {})

        done = predictions.predict_pictures(
            opened, found, out, recipe=recipe, device=device, top=top, skip_broken=skip_broken, report=report
        )
    for _, reason in done.skipped:
        console.print(f"skipped: {reason}")
    if done.left_out:
        console.print(f"left out: {done.left_out}")
    skipped = f", {len(done.skipped)} broken ones skipped" if done.skipped else ""
    masks = f", masks in {done.masks}" if done.masks else ""
    console.print(f"{done.count} pictures{skipped}: {out}{masks}; defined in {done.definition}")
