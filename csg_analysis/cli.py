"""The ``csg-analyze`` command: the list of what it can do."""

import click

from csg_analysis.commands.accuracy import accuracy
from csg_analysis.commands.attention import attention
from csg_analysis.commands.choose import choose
from csg_analysis.commands.compare import compare
from csg_analysis.commands.energy import energy
from csg_analysis.commands.features import features
from csg_analysis.commands.gradcam import gradcam
from csg_analysis.commands.predictions import predictions
from csg_analysis.commands.sphere import sphere
from csg_train import __version__
from csg_train.commands.options import Commands

__all__ = ["main"]


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Measure checkpoints: features, energy, similarity, attention, accuracy. Records go to a checkpoint's folder."""


for _command in (energy, accuracy, gradcam, attention, features, compare, choose, sphere, predictions):
    main.add_command(_command)
