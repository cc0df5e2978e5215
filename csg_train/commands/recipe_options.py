"""The argument and the option that name a recipe and change it."""

import functools
from collections.abc import Callable

import click

from csg_train.commands.completion import complete_override, complete_recipe
from csg_train.errors import UserError
from csg_train.recipes.packaged import DEFAULT_RECIPE

__all__ = ["checkpoint_set_option", "recipe_argument", "set_option", "source_set_option"]

_READ = (
    *("data", "evaluate.flip", "model.weights", "segmentation.longest_side", "segmentation.tile"),
    *("train.batch_size", "train.workers"),
)
"""What measuring a checkpoint takes from its recipe; the rest is in its weights."""


def _only(fields: tuple[str, ...]) -> Callable[[click.Context, click.Parameter, tuple[str, ...]], tuple[str, ...]]:
    def require(_context: click.Context, _option: click.Parameter, overrides: tuple[str, ...]) -> tuple[str, ...]:
        for override in overrides:
            key, separator, _ = override.partition("=")
            if separator and not f"{key.strip()}.".startswith(tuple(f"{field}." for field in fields)):
                may = ", ".join(fields)
                raise UserError(
                    f"--set {key}: a checkpoint keeps what it was trained with; change {may}, or train anew"
                )
        return overrides

    return require


_set = functools.partial(click.option, "--set", "overrides", multiple=True, metavar="KEY=VALUE")
set_option = _set(shell_complete=complete_override, help="Change one field of the recipe.")
checkpoint_set_option = _set(callback=_only(_READ), help="Change a field of its recipe, e.g. data.target.root.")
source_set_option = _set(
    callback=_only(("data.source",)), help="Where the source pictures lie now: data.source.root=FOLDER."
)
recipe_argument = click.argument(
    "recipe_name", metavar="[RECIPE]", default=DEFAULT_RECIPE, shell_complete=complete_recipe
)
