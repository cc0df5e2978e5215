"""What commands warn of, and folders of numbered pictures."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from csg_train import runs
from csg_train.console import console
from csg_train.errors import UserError
from csg_train.files import together, write_text

__all__ = ["numbered_pictures", "require_own_pictures", "warn_unstable"]

_INDEX = "index.tsv"
"""Beside numbered pictures: the name of each and, after a tab, the file that it shows."""


def warn_unstable(label: str, stability: Mapping[str, runs.PoolStability | None], count: int) -> None:
    """A line for each layer on whose maps the attention pool is hardly defined."""
    for layer, own in stability.items():
        if own is not None and own.below:
            console.print(
                f"warning: {label}, {layer}: the attention pool is hardly defined on {own.below} of {count} pictures, "
                f"whose positions cancel (stability under {runs.UNSTABLE}, smallest {own.smallest:.2g}); "
                "use --pool average",
            )


def require_own_pictures(out: Path) -> set[str]:
    """The numbered pictures of an earlier call in a folder, which the next one replaces.

    Raises:
        UserError: It is a file, or holds such a picture, or an index, of somebody else.
    """
    if out.exists() and not out.is_dir():
        raise UserError(f"--out {out}: a file; give a folder")
    index = out / _INDEX
    lines = index.read_bytes().splitlines() if index.is_file() else []
    own = {found[1].decode() for line in lines if (found := re.match(rb"(\d{4,}\.png)\t", line))}
    there = {path.name for path in out.glob("*.png") if re.fullmatch(r"\d{4,}\.png", path.name)}
    if len(own) < len(lines) or there - own:
        what = min(there - own, default=_INDEX)
        raise UserError(f"{out / what}: not written by this command, which would overwrite it; choose another --out")
    return own


@contextlib.contextmanager
def numbered_pictures(out: Path, files: Sequence[str]) -> Iterator[Path]:
    """Where to write ``0000.png`` and so on; they become those of ``out``, with their index, when all are there.

    Args:
        out: The folder.
        files: What each picture shows.
    """
    old = require_own_pictures(out)
    names = [f"{index:04d}.png" for index in range(len(files))]
    with together(out) as work:
        yield work
        write_text(work / _INDEX, "".join(f"{name}\t{file}\n" for name, file in zip(names, files, strict=True)))
    for name in old - {*names}:
        (out / name).unlink(missing_ok=True)
