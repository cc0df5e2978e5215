"""``csg-train recipes``: those of the package, to run or to begin one's own from."""

import click

from csg_train.commands.completion import complete_recipe
from csg_train.commands.options import json_option
from csg_train.console import print_json, print_table
from csg_train.errors import UserError
from csg_train.recipes.packaged import RECIPES, packaged_recipe, packaged_recipes

__all__ = ["recipes"]


@click.command()
@click.argument("name", required=False, shell_complete=complete_recipe)
@json_option
def recipes(name: str | None, as_json: bool) -> None:
    """List the packaged recipes, or print one with its comments, for a file of your own.

    csg-train recipes digits > my.yaml

    For a row of the paper's tables print the recipe of its method (gta5-resnet50-csg), with its own settings.
    """
    if name is not None and name not in packaged_recipes():
        raise UserError(f"{name}: no packaged recipe; choose from: {', '.join(packaged_recipes())}")
    if name is not None and not as_json:
        click.echo((RECIPES / f"{name}.yaml").read_text(encoding="utf-8"), nl=False)
        return
    values = {one: packaged_recipe(one) for one in packaged_recipes() if name in (None, one)}
    if as_json:
        print_json(list(values.values()))
        return
    rows = [
        [
            one,
            "segmentation" if "segmentation" in value else "classification",
            *(value["data"][split]["dataset"] for split in ("source", "target")),
            value["model"]["backbone"],
            value["method"]["name"],
            str(value["train"]["steps"]),
        ]
        for one, value in values.items()
    ]
    print_table("recipes of the package", ["recipe", "task", "source", "target", "backbone", "method", "steps"], rows)
