"""The GPU's part of the page: measured where there is one, else kept from the last machine that had one.

    python -m benchmarks.gpu_section first.json second.json

What several calls of `benchmarks.gpu` on one kind of machine wrote becomes the figures that are kept.
"""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import click
import torch

from benchmarks.tables import table
from csg_train.files import write_json

__all__ = ["KEPT", "commit_here", "git", "joined", "machine", "section", "shown"]

_ROOT = Path(__file__).parents[1]
KEPT = _ROOT / "reports" / "gpu.json"


def machine(device: torch.device) -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "card": torch.cuda.get_device_name(device) if device.type == "cuda" else "no GPU",
        "cores": len(os.sched_getaffinity(0)),
        "torch": torch.__version__,
        "cudnn": torch.backends.cudnn.version(),
        "commit": commit_here(),
    }


def commit_here() -> str:
    """Of this checkout; ``unknown`` where there is none."""
    return git("rev-parse", "--short", "HEAD") or "unknown"


def git(*arguments: str) -> str:
    """What git says in this checkout; empty where there is none, as on a machine that has a copy of the tree."""
    with contextlib.suppress(OSError):
        ask = ["git", *arguments]
        return subprocess.run(ask, cwd=_ROOT, capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603
    return ""


def section(quick: bool, kept: Path = KEPT) -> str:
    """The table; a quick one is measured on a GPU too, and not kept."""
    if not torch.cuda.is_available():
        if not kept.exists():
            return "Not measured: this page has never been written on a machine with a GPU."
        return f"This machine has no GPU; kept from the last that had one.\n\n{shown(json.loads(kept.read_text()))}"
    with TemporaryDirectory() as folder:
        out = Path(folder) / kept.name if quick else kept
        options = ["--quick"] if quick else []
        subprocess.run([sys.executable, "-m", "benchmarks.gpu", "--out", out, *options], cwd=_ROOT, check=True)  # noqa: S603
        return shown(json.loads(out.read_text()))


def joined(calls: list[dict[str, Any]], commit: str) -> dict[str, Any]:
    """The rows of several calls, one after another; of a machine that had no git the commit is this checkout's.

    Raises:
        click.UsageError: They are of different machines, versions or sizes.
    """
    abouts = [{name: found[name] for name in found if name not in ("rows", "commit")} for found in calls]
    if any(about != abouts[0] for about in abouts):
        raise click.UsageError(f"figures of different machines do not go together: {abouts}")
    commits = {commit if found["commit"] == "unknown" else found["commit"] for found in calls}
    if len(commits) > 1:
        raise click.UsageError(f"figures of different commits do not go together: {', '.join(sorted(commits))}")
    return abouts[0] | {"commit": commits.pop(), "rows": [row for found in calls for row in found["rows"]]}


def shown(found: dict[str, Any]) -> str:
    """Of what `benchmarks.gpu` wrote: the machine, and a table."""
    rows = [[row["what"], _time(row["seconds"]), _ratio(row), _more(row)] for row in found["rows"]]
    about = f"{found['card']}, {found['cores']} cores, torch {found['torch']}, commit {found['commit']}"
    return f"{about}{' (tiny sizes)' if found['quick'] else ''}\n\n{table(['what', 'time', 'ratio', 'also'], rows)}"


def _time(seconds: float) -> str:
    if seconds >= 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds:.1f} s" if seconds >= 10 else f"{1000 * seconds:.1f} ms"


def _ratio(row: dict[str, Any]) -> str:
    return "" if row["ratio"] is None else f"{row['ratio']:.2f} x {row['peer']}"


def _more(row: dict[str, Any]) -> str:
    parts = []
    if (rate := row.get("pictures_per_second")) is not None:
        parts.append(f"{rate:.3g} pictures/s")
    if (busy := row.get("busy")) is not None:
        parts.append(f"GPU busy {busy:.0%}")
    if (peak := row.get("peak_bytes")) is not None:
        parts.append(f"peak {peak / 2**30:.1f} GiB")
    return ", ".join(parts)


@click.command(help="Keep the figures of several calls on one kind of machine.")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), default=KEPT, show_default=True)
def main(files: tuple[Path, ...], out: Path) -> None:
    found = joined([json.loads(path.read_text()) for path in files], commit_here())
    write_json(out, found)
    click.echo(shown(found))


if __name__ == "__main__":
    main()
