"""All records below some folders as one pandas table, for statistics that the report does not have."""

import json
import math
from pathlib import Path
from typing import Any

import pandas as pd

from csg_analysis.report.load import fitting, named_record, record_files
from csg_train.runs.records import AccuracyRecord, EnergyRecord, Record, SegmentationRecord

__all__ = ["read_records"]

_TEXT = ("method_config", "options", "averaged")


def read_records(folder: str | Path, *more: str | Path) -> pd.DataFrame:
    """Every number that was measured below some folders, with its definition: a row a record, a column a field.

    Nested fields are joined by dots: ``run.method``, ``run.seed``, ``data.split``, ``mean_per_class``, ``mhe.0``,
    ``interval.0.low``, ``per_class.dog``. A field that a kind of record does not have is missing (NaN) in its rows, and
    snapshots are rows too, so choose a ``kind``, a ``data.split`` and a ``run.step`` first. Shares are in [0, 1],
    energies infinite where a record's are.

    Args:
        folder: Of a run, or one that holds some; records of snapshots (``along``) and of models from outside count too.
        more: Other such folders.

    Returns:
        The records in the order of the folders, sorted by path within each. ``file`` is the record's; the settings
        ``run.method_config``, ``run.options`` and ``run.averaged`` are JSON, which can be grouped by.

    Raises:
        UserError: A folder is missing, there is no record, or one is damaged.
    """
    paths: dict[Path, Path] = {}
    for path in record_files([Path(folder), *map(Path, more)]):
        paths.setdefault(path.resolve(), path)  # once, where one folder lies in another
    return pd.json_normalize([{"file": str(path), **_fields(named_record(path), path)} for path in paths.values()])


def _fields(record: Record, path: Path) -> dict[str, Any]:
    fields = record.model_dump(mode="json")
    if isinstance(record, EnergyRecord):
        for name in ("paper", "mhe", "uniform"):
            fields[name] = {s: math.inf if value is None else value for s, value in fields[name].items()}
    if isinstance(record, AccuracyRecord | SegmentationRecord):
        fields["per_class"] = dict(zip(record.classes, fitting(record, path).per_class, strict=True))
    for name in _TEXT:
        if name in fields["run"]:  # a model from outside has none
            fields["run"][name] = json.dumps(fields["run"][name], sort_keys=True)
    return fields
