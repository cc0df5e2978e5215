"""The argument and the option that name a recipe and change it."""

import click

from csg_train.commands.completion import complete_override, complete_recipe
from csg_train.recipes.packaged import DEFAULT_RECIPE

__all__ = ["recipe_argument", "set_option"]

set_option = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="KEY=VALUE",
    shell_complete=complete_override,
    help="Change one field of the recipe.",
)
recipe_argument = click.argument(
    "recipe_name", metavar="[RECIPE]", default=DEFAULT_RECIPE, shell_complete=complete_recipe
)
