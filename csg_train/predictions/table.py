"""The table of predictions, written row by row: CSV, or JSON lines with the same names."""

import csv
import io
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, BinaryIO

from csg_train.errors import UserError

__all__ = ["Outcome", "require_ending", "write_rows"]

Outcome = dict[str, str | float] | UserError
"""What became of one picture: its values by column, or what is wrong with it."""
_ENDINGS = (".csv", ".jsonl")


def write_rows(stream: BinaryIO, ending: str, rows: Iterable[dict[str, Any]]) -> None:
    """Write rows of equal columns as UTF-8, as they come; a CSV has a line of column names first.

    Args:
        stream: Open; it stays so.
        ending: ``.csv`` or ``.jsonl``.
        rows: Values by column.
    """
    text = io.TextIOWrapper(stream, encoding="utf-8", errors="backslashreplace", newline="")
    table = csv.writer(text, lineterminator="\n")
    for number, row in enumerate(rows):
        if ending == ".jsonl":
            text.write(json.dumps(row, ensure_ascii=False) + "\n")
            continue
        if number == 0:
            table.writerow(row)
        table.writerow(row.values())
    text.flush()
    text.detach()


def require_ending(path: Path) -> str:
    """The ending of a table's file, ``.csv`` or ``.jsonl``.

    Raises:
        UserError: It is another.
    """
    if path.suffix not in _ENDINGS:
        raise UserError(f"--out {path}: give a name that ends in {' or '.join(_ENDINGS)}")
    return path.suffix
