"""The ``csg-report`` command."""

from pathlib import Path

import click

from csg_train import __version__
from csg_train.console import console

__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Reports from run records: an HTML page, Markdown, tables and figures."""


@main.command()
@click.argument("runs", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("report"), show_default=True, help="Folder to write."
)
@click.option("--allow-mixed", is_flag=True, help="Show runs that are not comparable, in groups marked on the page.")
def build(runs: tuple[Path, ...], out: Path, allow_mixed: bool) -> None:
    """Build the report of RUNS: run folders, or folders that hold some ("runs" when none is given).

    Reads records, training logs and recipes; computes nothing from checkpoints. The same records give the same bytes.
    """
    from csg_analysis.report.build import build as build_report  # matplotlib and scipy: not for --help

    page = build_report(runs or (Path("runs"),), out, allow_mixed=allow_mixed)
    console.print(f"report: {page}", highlight=False, markup=False)
