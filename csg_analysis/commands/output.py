"""How commands write tables."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from csg_train.files import write_text

__all__ = ["write_csv"]


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write a table as CSV, atomically."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([header, *rows])
    write_text(path, text.getvalue())
