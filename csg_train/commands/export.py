"""``csg-train export``: a trained network for another place."""

from pathlib import Path

import click

from csg_train import exports, runs
from csg_train.commands.recipe_options import checkpoint_set_option
from csg_train.console import console
from csg_train.exports.names import FORMATS

__all__ = ["export"]


@click.command()
@click.argument("checkpoint", type=click.Path(path_type=Path))
@click.option("--to", "folder", type=click.Path(path_type=Path), required=True, help="Folder to write.")
@click.option("--format", "format_name", type=click.Choice(FORMATS), required=True, help="Format of the export.")
@click.option("--images", default="target", show_default=True, help="Pictures to compare on: a split, a path.")
@checkpoint_set_option
def export(checkpoint: Path, folder: Path, format_name: str, images: str, overrides: tuple[str, ...]) -> None:
    """Write backbone and head of CHECKPOINT for use elsewhere, with class names, normalisation and a model card.

    Before it is kept, the export is loaded again and its outputs on pictures are compared with the checkpoint's.
    """
    opened = runs.load_checkpoint(checkpoint)
    recipe = opened.resolved_recipe(overrides)
    done = exports.export_checkpoint(opened, folder, format_name, recipe=recipe, images=images)
    for name, size in done.files.items():
        console.print(f"{folder / name}: {size:,} bytes")
    if done.size is not None:
        rows, columns = done.size
        console.print(
            f"{folder}: accepts only pictures of {rows} rows and {columns} columns, the size that the network needs"
        )
    console.print(f"{folder}: {done.comparison.line()}")
