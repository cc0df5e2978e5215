"""``log.jsonl``: one line a step."""

import json
import os
from pathlib import Path
from typing import Any

from csg_train.errors import UserError
from csg_train.files import writing

__all__ = ["TrainingLog", "last_row", "read_log"]

_NO_ROW = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)


class TrainingLog:
    """``log.jsonl``: one line a step, cut back to the checkpoint's length at a resume.

    Raises:
        UserError: It cannot be written, is shorter than the checkpoint says, or has no end of a line there.
    """

    def __init__(self, path: Path, keep: int) -> None:
        self.path, self.bytes, self._row = path, keep, b""
        if keep and (not path.exists() or path.stat().st_size < keep):
            raise UserError(f"{path}: shorter than the checkpoint says; restore it or use --overwrite")
        if keep and (text := path.read_bytes())[keep - 1] != ord("\n"):
            self._row = _before_its_measure(text, keep)
            if not self._row:
                raise UserError(
                    f"{path}: edited; no line ends where the checkpoint says; restore it or use --overwrite"
                )

    def __enter__(self) -> "TrainingLog":
        with writing(self.path):
            self.stream = self.path.open("r+b" if self.bytes else "wb")
            self.stream.truncate(self.bytes)
            self.stream.seek(self.bytes - len(self._row))
            self.stream.write(self._row)
            self.stream.flush()
        return self

    def __exit__(self, *_: object) -> None:
        with writing(self.path):
            self.stream.close()

    def write(self, values: dict[str, Any]) -> None:
        """Add one line."""
        with writing(self.path):
            self.bytes += self.stream.write((json.dumps(values) + "\n").encode())

    def take_back(self) -> dict[str, float]:
        """The last line's values, for the next `write` to add to; until then it stays."""
        values = last_row(self.path, self.bytes)
        text = self.path.read_bytes()[: self.bytes]
        self.bytes = text.rstrip(b"\n").rfind(b"\n") + 1
        self.stream.seek(self.bytes)
        return values

    def flush(self) -> None:
        """Show all lines to those who follow the file."""
        with writing(self.path):
            self.stream.flush()

    def sync(self) -> None:
        """Bring all lines to the disk, before a checkpoint that counts on them."""
        with writing(self.path):
            self.stream.flush()
            os.fsync(self.stream.fileno())
        if not self.path.exists():
            raise UserError(f"{self.path}: moved or removed while the run wrote it; train again")


def _before_its_measure(text: bytes, keep: int) -> bytes:
    """The row that ended at ``keep`` before the measure that it had lacked was added, if that is what is there.

    A run may end before it saves the checkpoint that counts the longer row.
    """
    start = text.rfind(b"\n", 0, keep) + 1
    row = text[start : keep - 2] + b"}\n"
    try:
        added = json.loads(text[start:].split(b"\n", 1)[0]).keys() - json.loads(row).keys()
    except _NO_ROW:
        return b""
    return row if len(added) == 1 and text[keep - 2 : keep] == b", " else b""


def read_log(path: Path) -> list[tuple[int, dict[str, float]]]:
    """The steps of a training log and what each logged; half a line at the end is left out.

    Raises:
        UserError: Unreadable, or a line is none of a training log.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]
    except OSError as error:
        raise UserError(f"{path}: not readable ({error}); restore it or train again") from error
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            values = json.loads(line)
            step = values.pop("step")
            if type(step) is not int or not 0 <= step < 2**63:
                raise ValueError(step)
            rows.append((step, {name: float(value) for name, value in values.items()}))
        except _NO_ROW as error:
            raise UserError(f"{path}:{number}: not a line of a training log; restore it or train again") from error
    return rows


def last_row(path: Path, length: int) -> dict[str, float]:
    """What the last step logged, of the first ``length`` bytes of a training log; nothing where there is none."""
    try:
        line = path.read_bytes()[:length].rstrip(b"\n").rsplit(b"\n", 1)[-1]
        values = json.loads(line) if line else {}
        return {name: float(value) for name, value in values.items() if name != "step"}
    except (OSError, *_NO_ROW):  # `TrainingLog` says what is wrong
        return {}
