"""The table of methods of another report, shown beside this one as it stands there; nothing of it is computed again."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from csg_analysis.report import format as fmt
from csg_analysis.report.part import span
from csg_analysis.report.tables import Cell, Column, Table
from csg_analysis.report.wording import capital, wording_by_field
from csg_train.errors import UserError

__all__ = ["BESIDE", "Beside", "kept_beside", "read_beside"]

BESIDE = "beside.json"
"""Where the other report lies, seen from this one."""
_TABLE = "tables/beside.json"
"""The other report's table, byte for byte."""
_OVER = {True: "seeds and pictures", False: "seeds alone"}


@dataclass(frozen=True)
class Beside:
    """Another report's table of methods.

    Attributes:
        path: The other report's folder, seen from this report's.
        content: Its ``tables/methods.json``, byte for byte.
        table: What is shown of it.
    """

    path: str
    content: bytes
    table: Table

    @property
    def sha256(self) -> str:
        """Of the table file."""
        return hashlib.sha256(self.content).hexdigest()

    @property
    def name(self) -> str:
        """The folder, without the way up to it."""
        return str(PurePosixPath(*(part for part in PurePosixPath(self.path).parts if part != "..")))

    @property
    def heading(self) -> str:
        """How many runs it has."""
        return f"Another report: {span([int(str(row['runs'])) for row in self.table.data])} runs of each method"

    @property
    def link(self) -> str:
        """Address of the other page, seen from this one."""
        return quote(f"{self.path}/index.html")

    @property
    def files(self) -> dict[str, bytes]:
        """What this report keeps, so that `kept_beside` needs no other folder."""
        return {BESIDE: (json.dumps({"report": self.path}) + "\n").encode(), _TABLE: self.content}


def read_beside(report: Path, out: Path) -> Beside:
    """The table of ``report`` for a page in the folder ``out``.

    Raises:
        UserError: There is no report, or its table is damaged.
    """
    path = report / "tables/methods.json"
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; give --beside the folder of a report (csg-report build)") from error
    place = os.path.relpath(report.resolve(), out.resolve())
    return Beside(Path(place).as_posix(), content, _table(content, path))


def kept_beside(out: Path) -> Beside | None:
    """The table that the report in ``out`` was built beside; None without one.

    Raises:
        UserError: What it keeps is damaged.
    """
    path = out / BESIDE
    if not path.is_file():
        return None
    try:
        place, content = json.loads(path.read_text(encoding="utf-8"))["report"], (out / _TABLE).read_bytes()
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(f"{path}: not what csg-report build --beside wrote; build the report again") from error
    return Beside(str(place), content, _table(content, out / _TABLE))


def _table(content: bytes, path: Path) -> Table:
    try:
        found = json.loads(content)
        title, notes, rows = str(found["title"]), [str(note) for note in found["notes"]], found["rows"]
        field, words = next(pair for pair in wording_by_field().items() if pair[0] in rows[0])
        crossed = any(_crossed(row, f"{field}_minus_baseline") for row in rows)
        cells = [_cells(row, field, crossed=crossed) for row in rows]
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, StopIteration) as error:
        raise UserError(f"{path}: not this version's table of methods; build that report again") from error
    columns = [
        Column("Method", numeric=False),
        Column("Runs"),
        Column(capital(words.short), words.unit),
        Column(f"Δ {words.short}", f"points, over {_OVER[crossed]}"),
        Column("E₀", "mhe"),
        Column("ΔE₀", f"over {_OVER[False]}"),
    ]
    return Table("beside", title, columns, cells, rows, notes)


def _cells(row: Mapping[str, Any], field: str, *, crossed: bool) -> list[Cell]:
    return [
        Cell(str(row["row"]), under=str(row.get("kind", ""))),
        Cell(str(int(row["runs"]))),
        _mean(row, field, 1),
        _difference(row, f"{field}_minus_baseline", 1, crossed=crossed),
        _mean(row, "e0_mhe", 3),
        _difference(row, "e0_mhe_minus_baseline", 3, crossed=False),
    ]


def _mean(row: Mapping[str, Any], field: str, digits: int) -> Cell:
    mean, sd = row[field], row[f"{field}_sd"]
    if mean is None:
        return Cell(fmt.DASH)
    return Cell(fmt.fixed(mean, digits) + ("" if sd is None else f" ± {fmt.fixed(sd, digits)}"), sort=mean)


def _crossed(row: Mapping[str, Any], field: str) -> bool:
    """Whether that report decided by an interval over pictures too."""
    return row.get(f"{field}_pictures_low") is not None


def _difference(row: Mapping[str, Any], field: str, digits: int, *, crossed: bool) -> Cell:
    kind = "pictures" if _crossed(row, field) else "simultaneous"
    mean, low, high = (row[name] for name in (field, f"{field}_{kind}_low", f"{field}_{kind}_high"))
    if mean is None:
        return Cell(fmt.DASH)
    if low is None:
        return Cell(
            fmt.signed(mean, digits), sort=mean, note=f"too few runs for an interval, n = {row[f'{field}_pairs']}"
        )
    shown = low > 0 or high < 0
    alone = f", {_OVER[False]}" if crossed and kind == "simultaneous" else ""
    note = f"{fmt.ends((low, high), digits)}{alone}\n{'shown' if shown else 'inconclusive'}"
    return Cell(fmt.signed(mean, digits), sort=mean, note=note, strong=shown)
