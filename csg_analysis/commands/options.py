"""The options that several commands share."""

from pathlib import Path

import click

from csg_train.commands.options import device_option, json_option
from csg_train.commands.recipe_options import checkpoint_set_option as set_option
from csg_train.splits import SPLITS

__all__ = [
    "checkpoints",
    "device_option",
    "explain_option",
    "images_option",
    "json_option",
    "layer_option",
    "model_option",
    "pool_option",
    "records_option",
    "set_option",
    "some_checkpoints",
    "split_option",
    "splits_option",
]

some_checkpoints = click.argument("checkpoints", nargs=-1, type=click.Path(path_type=Path))
model_option = click.option(
    "--model",
    "models",
    multiple=True,
    metavar="NAME[:FILE]",
    help="A model from outside: timm/NAME or a torchvision name, with published weights or a file's. May be repeated.",
)
images_option = click.option(
    "--images",
    "folder",
    type=click.Path(path_type=Path),
    help="Pictures for --model: a folder of any depth, or a file.",
)
records_option = click.option(
    "--records",
    type=click.Path(path_type=Path),
    show_default="outside",
    help="Where the records of --model go, a folder each.",
)
checkpoints = click.argument("checkpoints", nargs=-1, required=True, type=click.Path(path_type=Path))
splits_option = click.option(
    "--split",
    "splits",
    multiple=True,
    type=click.Choice(SPLITS),
    help="Split to measure; may be repeated. [default: source and target]",
)
split_option = click.option("--split", type=click.Choice(SPLITS), help="Split to read. [default: target]")
explain_option = click.option(
    "--explain",
    default="predicted",
    show_default=True,
    help="Class that a map explains: predicted, a class name, or label (the true one; not with masks).",
)
layer_option = click.option("--layer", default="layer4", show_default=True, help="A stage of the backbone.")
pool_option = click.option(
    "--pool",
    type=click.Choice(["average", "attention"]),
    default="average",
    show_default=True,
    help="How a feature map becomes one vector: its mean, or CSG's attention pooling.",
)
