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
@click.option("--format", "format_name", type=click.Choice(FORMATS), required=True, help="Of the files.")
@click.option("--images", default="target", show_default=True, help="To compare on: a split, a file or a folder.")
@checkpoint_set_option
def export(checkpoint: Path, folder: Path, format_name: str, images: str, overrides: tuple[str, ...]) -> None:
    """Write backbone and head of CHECKPOINT for use elsewhere, with class names, normalisation and a model card.

    The folder is read again and compared with the checkpoint on pictures before it is kept.
    """
    opened = runs.load_checkpoint(checkpoint)
    recipe = opened.resolved_recipe(overrides)
    done = exports.export_checkpoint(opened, folder, format_name, recipe=recipe, images=images)
    for name, size in done.files.items():
        console.print(f"{folder / name}: {size:,} bytes")
    if done.size is not None:
        rows, columns = done.size
        console.print(
            f"{folder}: takes pictures of {rows} rows and {columns} columns alone: the network rests on the size"
        )
    console.print(f"{folder}: {done.comparison.line()}")
