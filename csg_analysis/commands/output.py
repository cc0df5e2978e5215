"""How commands write tables and print records."""

import csv
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click

from csg_train.files import write_text

__all__ = ["print_json", "write_csv"]


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write a table as CSV, atomically."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([header, *rows])
    write_text(path, text.getvalue())


def print_json(records: Sequence[Any]) -> None:
    """Print records as one JSON list on standard output."""
    click.echo(json.dumps([record.model_dump(mode="json") for record in records], indent=1, sort_keys=True))
