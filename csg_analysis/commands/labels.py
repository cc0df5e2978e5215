"""How tables and sheets of several checkpoints tell them apart: by the labels of a report's rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from csg_train import runs

__all__ = ["Named", "labelled"]

_Found = TypeVar("_Found")


@dataclass(frozen=True)
class Named:
    """One checkpoint or model from outside.

    Attributes:
        run: What its records say of it.
        rest: Of a checkpoint seed and step, of a model from outside its name.
        path: Where it lies.
    """

    run: runs.RunInfo | runs.OutsideInfo
    rest: str
    path: Path


def labelled(found: Sequence[tuple[Named, _Found]]) -> list[tuple[str, _Found]]:
    """Each with its row's label, seed and step, the source of several, the file where two are still alike."""
    shown = {named.path: named for named, _ in found}
    infos = {path: named.run for path, named in shown.items() if isinstance(named.run, runs.RunInfo)}
    rows, sources = runs.row_labels(infos), {info.source for info in infos.values()}

    def label(one: Named) -> str:
        if one.path not in rows:
            return one.rest
        return f"{rows[one.path]} {one.rest}" + (f", {infos[one.path].source}" if len(sources) > 1 else "")

    counts = Counter(map(label, shown.values()))
    return [(label(one) + (f" ({one.path})" if counts[label(one)] > 1 else ""), value) for one, value in found]
