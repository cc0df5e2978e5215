"""The options that several commands share."""

from pathlib import Path

import click

from csg_train.commands.options import device_option, json_option
from csg_train.splits import SPLITS

__all__ = ["checkpoints", "device_option", "json_option", "layer_option", "pool_option", "set_option", "splits_option"]

checkpoints = click.argument("checkpoints", nargs=-1, required=True, type=click.Path(path_type=Path))
set_option = click.option(
    "--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a recipe field, e.g. data.target.root."
)
splits_option = click.option(
    "--split", "splits", multiple=True, type=click.Choice(SPLITS), help="May be repeated. [default: source and target]"
)
layer_option = click.option("--layer", default="layer4", show_default=True, help="A stage of the backbone.")
pool_option = click.option("--pool", type=click.Choice(["average", "attention"]), default="average", show_default=True)
