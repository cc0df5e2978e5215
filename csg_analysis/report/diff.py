"""What changed between two reports: their runs, and every number of every table, read from ``tables/*.json``."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from csg_analysis.report.build import FILES, listed_files
from csg_analysis.report.tables import Value
from csg_train.errors import UserError

__all__ = ["Change", "Differences", "compare_reports", "read_tables"]

_KEYS = ("run", "class", "true", "predicted", "step", "machine", "file", "method", "row")
"""Fields that name a row of a table."""
_PROVENANCE = "provenance"

Rows = Mapping[tuple[str, ...], Mapping[str, Value]]


@dataclass(frozen=True)
class Change:
    """One value that differs; None where a report does not have it."""

    table: str
    row: str
    field: str
    before: Value
    after: Value


@dataclass(frozen=True)
class Differences:
    """Two reports compared.

    Attributes:
        added: Runs of the second report alone.
        removed: Runs of the first report alone.
        changed: By run in both, the fields of its provenance that differ.
        numbers: Values of all other tables, in the order of the tables' names.
    """

    added: list[str]
    removed: list[str]
    changed: dict[str, list[str]]
    numbers: list[Change]


def compare_reports(first: Path, second: Path) -> Differences:
    """Compare two report folders.

    Raises:
        UserError: One is no report, or a table of it is damaged.
    """
    before, after = read_tables(first), read_tables(second)
    ours, theirs = before.pop(_PROVENANCE), after.pop(_PROVENANCE)
    changes = {
        " ".join(key): [
            name for name in _fields(ours[key], theirs[key]) if ours[key].get(name) != theirs[key].get(name)
        ]
        for key in ours
        if key in theirs
    }
    return Differences(
        added=[" ".join(key) for key in theirs if key not in ours],
        removed=[" ".join(key) for key in ours if key not in theirs],
        changed={run: fields for run, fields in changes.items() if fields},
        numbers=[
            change
            for name in sorted(before.keys() | after.keys())
            for change in _changes(name, before.get(name, {}), after.get(name, {}))
        ],
    )


def _fields(first: Mapping[str, Value], second: Mapping[str, Value]) -> Sequence[str]:
    return list(dict.fromkeys((*first, *second)))


def _changes(table: str, before: Rows, after: Rows) -> list[Change]:
    found = []
    for key in dict.fromkeys((*before, *after)):
        ours, theirs = before.get(key, {}), after.get(key, {})
        found += [
            Change(table, " ".join(key), name, ours.get(name), theirs.get(name))
            for name in _fields(ours, theirs)
            if ours.get(name) != theirs.get(name) and name not in _KEYS
        ]
    return found


def read_tables(report: Path) -> dict[str, Rows]:
    """Rows of every table of a report by the table's name; each row by what names it.

    Raises:
        UserError: The folder is no report, or a table of it is damaged.
    """
    paths = sorted((report / "tables").glob("*.json"))
    if _PROVENANCE not in {path.stem for path in paths}:
        raise UserError(
            f"{report}: no report in this folder (tables/{_PROVENANCE}.json); build one with csg-report build"
        )
    listed = listed_files(report) if (report / FILES).exists() else ()  # earlier versions list none
    if lost := [name for name in listed if name.startswith("tables/") and not (report / name).exists()]:
        raise UserError(f"{report / lost[0]}: no such table, which {FILES} lists; build the report again")
    return {path.stem: _read(path) for path in paths}


def _read(path: Path) -> Rows:
    try:
        rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
        return {_key(row): row for row in rows}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(f"{path}: not a table of a report; build the report again (csg-report build)") from error


def _key(row: Mapping[str, Value]) -> tuple[str, ...]:
    if "run" in row:
        return (str(row["run"]), *([str(row["file"])] if "file" in row else []))
    shown = row["row"] if row.get("row") is not None else row["method"]
    return (*(str(row[name]) for name in ("class", "true", "predicted", "step", "machine") if name in row), str(shown))
