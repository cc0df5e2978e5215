"""What the commands print: a progress bar on a terminal, plain lines elsewhere, tables in both, or JSON instead.

JSON goes to standard output alone; under ``--json`` everything else goes to standard error.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import click
from rich.cells import cell_len
from rich.console import Console
from rich.table import Table

__all__ = ["console", "print_json", "print_table", "progress"]

_NAME = 16
"""Width of a table's first column from which on its names may be folded."""

# Names of users hold [brackets], :colons: and digits.
console = Console(soft_wrap=True, markup=False, emoji=False, highlight=False)
if not console.is_terminal:
    console.width = 200  # a log file or a pipe: tables keep their columns


def print_json(value: Any) -> None:
    """Print records, dataclasses or plain data as JSON with sorted keys; what is not finite becomes null."""
    from pydantic_core import to_jsonable_python  # here and below: not for --help

    plain = to_jsonable_python(value, inf_nan_mode="null")
    click.echo(json.dumps(plain, indent=1, sort_keys=True, allow_nan=False))


@contextmanager
def progress(title: str, total: int) -> Iterator[Callable[[int, dict[str, float]], None]]:
    """Yield ``report(done, values)``: moves the bar on a terminal, prints a line elsewhere."""
    if console.quiet or console.stderr or not console.is_terminal:
        yield lambda done, values: console.print(f"{title} {done}/{total} {_format(values)}")
        return
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, TextColumn("{task.fields[values]}", markup=False), console=console) as bar:
        task = bar.add_task(title, total=total, values="")
        yield lambda done, values: bar.update(task, completed=done, values=_format(values))


def _format(values: dict[str, float]) -> str:
    return " ".join(f"{name} {value:.4g}" for name, value in values.items())


def print_table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: the first column is text, the others are right-aligned.

    Where the terminal is too narrow to show every value whole, a row is a line for each value.
    """
    if _least_width([columns, *rows]) > console.width:
        _print_lines(title, columns, rows)
        return
    table = Table(title=title, title_justify="left")
    for position, column in enumerate(columns):
        first = position == 0
        table.add_column(column, justify="left" if first else "right", no_wrap=not first, overflow="fold")
    for row in rows:
        table.add_row(*row)
    console.print(table)


def _least_width(lines: Sequence[Sequence[str]]) -> int:
    """Width of a table that shows every value whole, and folds the names of its first column as far as is bearable."""
    widths = [max(cell_len(text) for text in column) for column in zip(*lines, strict=True)]
    return min(widths[0], _NAME) + sum(widths[1:]) + 3 * len(widths) + 1


def _print_lines(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    console.print(title, style="table.title")
    for name, *values in rows:
        console.print(f"{columns[0]} {name}".strip(), style="bold")
        for column, value in zip(columns[1:], values, strict=True):
            console.print(f"  {column} {value}".rstrip())
