"""The ``csg-report`` command."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from csg_train import __version__
from csg_train.commands.options import Commands, json_option
from csg_train.console import console, print_json, print_table

if TYPE_CHECKING:
    from csg_analysis.report.diff import Differences
    from csg_analysis.report.tables import Value

__all__ = ["main"]


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Reports from run records: an HTML page, Markdown, tables and figures."""


@main.command()
@click.argument("runs", nargs=-1, type=click.Path(path_type=Path))
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("report"), show_default=True, help="Folder to write."
)
@click.option("--allow-mixed", is_flag=True, help="Show runs that are not comparable, in groups marked on the page.")
@click.option(
    "--beside", type=click.Path(path_type=Path), metavar="REPORT", help="Folder of a report whose table to show too."
)
def build(runs: tuple[Path, ...], out: Path, allow_mixed: bool, beside: Path | None) -> None:
    """Build the report of RUNS: run folders, or folders that hold some ("runs" when none is given).

    Reads records, training logs and recipes; computes nothing from checkpoints. The same records give the same bytes.
    --beside shows the table of methods of another report, of more seeds perhaps, as it stands there.
    """
    from csg_analysis.report.build import build_report, kept_unmeasured  # matplotlib and scipy: not for --help

    page = build_report(runs or (Path("runs"),), out, allow_mixed=allow_mixed, beside=beside)
    for name in kept_unmeasured(out):
        console.print(f"left out: {name}, begun but not measured; csg-train run --resume finishes it")
    console.print(f"report: {page}")


@main.command()
@click.argument("report", metavar="DIR", type=click.Path(path_type=Path))
@click.argument("runs", nargs=-1, type=click.Path(path_type=Path))
@json_option
@click.pass_context
def verify(context: click.Context, report: Path, runs: tuple[Path, ...], as_json: bool) -> None:
    """Check the report in DIR against RUNS, or against the runs it names, which are looked for next to DIR and here.

    The report is rebuilt in memory and compared byte for byte; records and checkpoints are checked by their recorded
    SHA-256, scores by their confusion matrices. Every mismatch is printed on a line, and the exit code is then 2.
    """
    from csg_analysis.report.verify import verify_report

    verdict = verify_report(report, runs)
    console.quiet = console.quiet and not verdict.faults  # what does not agree is an error
    if as_json:
        print_json(verdict)
    else:
        for line in verdict.faults or [verdict.summary]:
            console.print(line)
    if verdict.faults:
        context.exit(2)


@main.command()
@click.argument("first", metavar="A", type=click.Path(path_type=Path))
@click.argument("second", metavar="B", type=click.Path(path_type=Path))
@json_option
def diff(first: Path, second: Path, as_json: bool) -> None:
    """Runs and numbers that changed from report A to report B."""
    from csg_analysis.report.diff import compare_reports

    found = compare_reports(first, second)
    if as_json:
        print_json(found)
        return
    for line in _run_lines(found):
        console.print(line)
    if found.numbers:
        rows = [[f"{c.table}: {c.row}", c.field, _shown(c.before), _shown(c.after)] for c in found.numbers]
        print_table("values that changed", ["", "value", str(first), str(second)], rows)
    else:
        console.print("no number changed")


def _run_lines(found: "Differences") -> list[str]:
    lines = [f"run added: {name}" for name in found.added] + [f"run removed: {name}" for name in found.removed]
    lines += [f"run changed: {name} ({', '.join(fields)})" for name, fields in found.changed.items()]
    return lines or ["the same runs"]


def _shown(value: "Value") -> str:
    return "-" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
