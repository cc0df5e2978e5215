"""The GPU's part of the page: measured where there is one, else kept from the last machine that had one."""

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from benchmarks.tables import table

__all__ = ["KEPT", "machine", "section", "shown"]

_ROOT = Path(__file__).parents[1]
KEPT = _ROOT / "reports" / "gpu.json"


def machine(device: torch.device) -> dict[str, Any]:
    """What the figures depend on."""
    commit = ""
    with contextlib.suppress(OSError):  # no git on a machine that has a copy of the tree
        ask = ["git", "rev-parse", "--short", "HEAD"]
        commit = subprocess.run(ask, cwd=_ROOT, capture_output=True, text=True, check=False).stdout.strip()  # noqa: S603
    return {
        "card": torch.cuda.get_device_name(device) if device.type == "cuda" else "no GPU",
        "cores": len(os.sched_getaffinity(0)),
        "torch": torch.__version__,
        "cudnn": torch.backends.cudnn.version(),
        "commit": commit or "unknown",
    }


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
