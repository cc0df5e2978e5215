"""How commands write tables."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from csg_train import runs
from csg_train.console import console
from csg_train.files import write_text

__all__ = ["warn_unstable", "write_csv"]


def write_csv(path: Path, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write a table as CSV, atomically."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([header, *rows])
    write_text(path, text.getvalue())


def warn_unstable(label: str, stability: Mapping[str, runs.PoolStability | None], count: int) -> None:
    """A line for each layer on whose maps the attention pool is hardly defined."""
    for layer, own in stability.items():
        if own is not None and own.below:
            console.print(
                f"warning: {label}, {layer}: the attention pool is hardly defined on {own.below} of {count} pictures, "
                f"whose positions cancel (stability under {runs.UNSTABLE}, smallest {own.smallest:.2g}); "
                "use --pool average",
                highlight=False,
                markup=False,
            )
