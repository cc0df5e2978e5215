"""``csg-train import``: released weights of others."""

from pathlib import Path

import click

from csg_train import recipes, runs
from csg_train.commands.recipe_options import set_option
from csg_train.console import console
from csg_train.runs.layouts import LAYOUTS

__all__ = ["import_command"]


@click.command("import")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--kind", required=True, type=click.Choice(list(LAYOUTS)), help="Who released the file.")
@click.option("--recipe", "recipe_name", metavar="NAME", help="Recipe of the network. [default: the kind's own]")
@set_option
@click.option("--field", metavar="NAME", help="Which state dict of FILE to take, where it holds several.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The file to write.")
def import_command(
    file: Path, kind: str, recipe_name: str | None, overrides: tuple[str, ...], field: str | None, out: Path
) -> None:
    """Convert the released weights in FILE to a checkpoint to measure (csg, asg) or a --weights file (the others)."""
    recipe = recipes.load_recipe(recipe_name or LAYOUTS[kind].recipe, overrides)
    for line in runs.import_file(file, kind, recipe, out, field=field):
        console.print(line)
