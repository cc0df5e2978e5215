"""`Table`: one object for the page, Markdown, CSV and JSON; display and exact data side by side."""

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from csg_train.files import csv_text

__all__ = ["Cell", "Column", "Table", "guard", "to_csv", "to_json"]

Value = float | int | str | bool | None


@dataclass(frozen=True)
class Column:
    """A column heading.

    Attributes:
        label: The heading.
        hint: A second, smaller line: unit or definition.
        numeric: Right-aligned and sorted as numbers.
    """

    label: str
    hint: str = ""
    numeric: bool = True


@dataclass(frozen=True)
class Cell:
    """A cell as shown.

    Attributes:
        text: What is read.
        sort: What a click on the heading sorts by; the text when None.
        note: A smaller second line.
        strong: Bold: an interval supports it.
        tone: ``good``, ``bad`` or empty; colours a note that an interval supports.
        heat: Share in [0, 1] that tints the cell, None for no tint.
        hint: Full text on hovering, for a shortened one.
        swatch: Colour of a dot before the text.
        under: In the row's heading, the group that the row is of; a table of several groups names each.
    """

    text: str
    sort: Value = None
    note: str = ""
    strong: bool = False
    tone: str = ""
    heat: float | None = None
    hint: str = ""
    swatch: str = ""
    under: str = ""

    @property
    def level(self) -> int | None:
        """The tint as a step from 0 to 20."""
        return None if self.heat is None else round(20 * min(max(self.heat, 0.0), 1.0))


@dataclass(frozen=True)
class Table:
    """A table and the exact numbers behind it.

    Attributes:
        name: File name stem.
        title: Caption.
        columns: The first is the row's heading.
        rows: Cells as shown.
        data: Flat records of full precision, written to CSV and JSON.
        notes: Footnotes: what each number means.
    """

    name: str
    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    data: Sequence[Mapping[str, Value]]
    notes: Sequence[str] = field(default=())

    @property
    def groups(self) -> list[tuple[str, list[Sequence[Cell]]]]:
        """The rows as shown below each group's name; one group without a name where all rows are of one."""
        found = [(name, list(rows)) for name, rows in itertools.groupby(self.rows, key=lambda row: row[0].under)]
        return found if len(found) > 1 else [("", list(self.rows))]


def guard(value: Value) -> Value:
    """A text that a spreadsheet would run as a formula, made harmless by a leading apostrophe."""
    if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return f"'{value}"
    return value


def to_csv(table: Table) -> str:
    """The data as CSV; an empty field for None."""
    names = list(dict.fromkeys(name for record in table.data for name in record))
    rows = [[guard(record.get(name)) for name in names] for record in table.data]
    return csv_text([str(guard(name)) for name in names], rows)


def to_json(table: Table) -> str:
    """Title, footnotes and data as JSON."""
    value = {"title": table.title, "notes": list(table.notes), "rows": [dict(record) for record in table.data]}
    return json.dumps(value, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n"
