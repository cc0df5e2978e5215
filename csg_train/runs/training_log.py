"""Reading ``log.jsonl``: one line a step, written by `csg_train.engine.loop`."""

import json
from pathlib import Path

from csg_train.errors import UserError

__all__ = ["read_log"]


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
            rows.append((int(values.pop("step")), {name: float(value) for name, value in values.items()}))
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise UserError(f"{path}:{number}: not a line of a training log; restore it or train again") from error
    return rows
