"""The ``csg-train`` command."""

import click

from csg_train import __version__
from csg_train.commands.average import average
from csg_train.commands.data import data
from csg_train.commands.export import export
from csg_train.commands.importing import import_command
from csg_train.commands.methods import methods
from csg_train.commands.options import Commands
from csg_train.commands.predict import predict
from csg_train.commands.recipes import recipes
from csg_train.commands.run import run, sweep
from csg_train.commands.tensorboard import tensorboard

__all__ = ["main"]


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Train and evaluate synthetic-to-real methods."""


for _command in (import_command, tensorboard, average, run, sweep, methods, recipes, data, predict, export):
    main.add_command(_command)
