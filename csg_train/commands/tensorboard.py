"""``csg-train tensorboard``: training logs for TensorBoard."""

from pathlib import Path

import click

from csg_train import runs as logs
from csg_train.console import console
from csg_train.files import together

__all__ = ["tensorboard"]


@click.command()
@click.argument("runs", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("tensorboard"), show_default=True, help="Folder to write."
)
def tensorboard(runs: tuple[Path, ...], out: Path) -> None:
    """Make TensorBoard's event files of the training logs of RUNS: run folders, or folders that hold some.

    ("runs" when none is given.) Then: tensorboard --logdir tensorboard
    """
    found = logs.find_logs(runs or (Path("runs"),))
    for name, log in found.items():
        logs.require_same_run(log, out / name)
    with together(out) as work:
        for name, log in found.items():
            logs.convert(log, work / name)
    console.print(f"{len(found)} runs; tensorboard --logdir {out}")
