"""Checking a report against the records it was built from: every file, every record, every checkpoint that is there."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from csg_analysis.report.arrays import arrays_file, other_arrays
from csg_analysis.report.beside import kept_beside
from csg_analysis.report.build import FILES, kept_unmeasured, listed_files, report_files
from csg_analysis.report.load import Run, load_runs
from csg_analysis.report.page import make_report
from csg_train.errors import UserError
from csg_train.evaluate.scores import iou_per_class, mean_iou, mean_per_class, per_class_accuracy
from csg_train.files import sha256_file
from csg_train.runs.records import (
    AccuracyRecord,
    AttentionRecord,
    AttentionScores,
    EnergyRecord,
    PredictionsRecord,
    ScoreRecord,
)

__all__ = ["Verdict", "find_runs", "verify_report"]

_PROVENANCE = "tables/provenance.json"
_CLOSE = 1e-9
"""A number and the one that its own record gives differ by rounding alone."""


@dataclass(frozen=True)
class Verdict:
    """What was compared.

    Attributes:
        faults: A line for everything that does not agree, files of the report first.
        summary: One line that says how much does.
    """

    faults: list[str]
    summary: str


def verify_report(out: Path, roots: Sequence[Path]) -> Verdict:
    """Build the report again in memory and compare it with the folder ``out``.

    Args:
        out: A report's folder.
        roots: Run folders, or folders that hold some; none to look for the runs that the report names beside it.

    Raises:
        UserError: ``out`` is no report, or the runs cannot be found.
    """
    listed = listed_files(out)
    changed = dict(_changed_files(out, listed))
    faults = list(changed.values())
    named = _named_records(out)
    try:
        runs = load_runs(roots or find_runs(out, named))
        report = make_report(runs, allow_mixed=True, beside=kept_beside(out), unmeasured=kept_unmeasured(out))
        built = report_files(report)
    except UserError as error:
        if not faults:
            raise
        return Verdict([*faults, error.format_message()], "")
    faults += _changed_runs(runs, named)
    for run in runs:
        faults += _changed_records(run, named.get(run.name))
        for one in (run, *run.along.values()):
            faults += [*_inconsistent(one), *_replaced(one), *_other_arrays(one)]
    faults += [line for name, line in _other_bytes(out, listed, built) if name not in changed]
    measured = [one for run in runs for one in (run, *run.along.values())]
    held = sum((one.folder / one.checkpoint).is_file() for one in measured)
    records = sum(len(run.files) for run in runs)
    summary = (
        f"{out}: all {len(built)} files agree with the {records} records of {len(runs)} runs; "
        f"{held} checkpoints checked, {len(measured) - held} not there"
    )
    return Verdict(faults, summary)


def _changed_files(out: Path, listed: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, sha256 in listed.items():
        path = out / name
        if not path.is_file():
            yield name, f"{path}: missing; the report lists it"
        elif sha256 and sha256_file(path) != sha256:
            yield name, f"{path}: changed after the report was built, {FILES} has another SHA-256"


def _other_bytes(out: Path, listed: Mapping[str, str], built: Mapping[str, bytes]) -> Iterator[tuple[str, str]]:
    for name in sorted(built.keys() - listed.keys() - {FILES}):
        yield name, f"{out / name}: the records give this file, the report does not list it"
    for name in sorted(listed.keys() - built.keys() - {FILES}):
        yield name, f"{out / name}: the records do not give this file"
    for name in sorted(built.keys() & (listed.keys() | {FILES})):
        found = (out / name).read_bytes() if (out / name).is_file() else None
        if found is not None and found != built[name]:
            yield name, f"{out / name}: {_where(found, built[name])}not what the runs give now"


def _where(found: bytes, expected: bytes) -> str:
    """The first line that differs, for text."""
    try:
        pairs = zip(found.decode().split("\n"), expected.decode().split("\n"), strict=False)
    except UnicodeDecodeError:
        return ""
    line = next((number for number, (ours, theirs) in enumerate(pairs, start=1) if ours != theirs), None)
    return "" if line is None else f"line {line} is "


def _named_records(out: Path) -> dict[str, dict[str, str]]:
    """Records that the report names, by run: file name and SHA-256; empty where its table cannot be read."""
    try:
        rows = json.loads((out / _PROVENANCE).read_text(encoding="utf-8"))["rows"]
        return {row["run"]: dict(line.rsplit(" ", 1) for line in row["records"].splitlines()) for row in rows}
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return {}


def find_runs(out: Path, named: Mapping[str, Mapping[str, str]]) -> list[Path]:
    """The folders of these runs: the folder that holds the report, one of its neighbours, or ``runs``.

    Where most of them are, and of places that have as many, where most of the records are those that the report names.

    Raises:
        UserError: No such place has any of them.
    """
    parent = out.resolve().parent
    neighbours = sorted(path for path in parent.iterdir() if path.is_dir())
    places = (parent, *neighbours, Path("runs"), Path())
    there = [(place, [name for name in named if (place / name).is_dir()]) for place in places]
    if most := max(len(names) for _, names in there):
        place, names = max(
            (one for one in there if len(one[1]) == most), key=lambda one: _unchanged(one[0], one[1], named)
        )
        return [place / name for name in names]
    missing = ", ".join([*named][:1]) or "what it was built from"
    raise UserError(f"{out}: {missing} is not beside the report; give the folders: csg-report verify {out} RUNS")


def _unchanged(place: Path, names: Sequence[str], named: Mapping[str, Mapping[str, str]]) -> int:
    records = ((place / name / file, sha256) for name in names for file, sha256 in named[name].items())
    return sum(path.is_file() and sha256_file(path) == sha256 for path, sha256 in records)


def _changed_runs(runs: Sequence[Run], named: Mapping[str, object]) -> Iterator[str]:
    there = {run.name: run for run in runs}
    for name in named:
        if name not in there:
            yield f"{name}: the report names this run, its records were not found"
    for name, run in there.items():
        if name not in named:
            yield f"{run.folder}: has records, but the report does not name this run"


def _changed_records(run: Run, named: Mapping[str, str] | None) -> Iterator[str]:
    if named is None:
        return
    there = dict(run.files)
    for name in sorted(named.keys() | there.keys()):
        path = run.folder / name
        if name not in there:
            yield f"{path}: missing; the report names it"
        elif name not in named:
            yield f"{path}: measured after the report was built"
        elif named[name] != there[name]:
            yield f"{path}: changed after the report was built"


def _replaced(run: Run) -> Iterator[str]:
    path = run.folder / run.checkpoint
    if path.is_file() and (found := sha256_file(path)) != run.info.checkpoint_sha256:
        yield f"{path}: not the checkpoint that was measured ({found[:12]}, records {run.info.checkpoint_sha256[:12]})"


def _other_arrays(run: Run) -> Iterator[str]:
    records: list[AttentionRecord | PredictionsRecord] = [*run.predicted.values()]
    for record in [*records, run.attention] if run.attention else records:
        if other_arrays(run, record):
            path = arrays_file(run, record)
            yield f"{path}: not the arrays that {path.stem}.json is of"


def _inconsistent(run: Run) -> Iterator[str]:
    """Numbers that do not follow from the counts, curves or classes in their own record."""
    for split, record in run.scores.items():
        path = run.folder / f"{record.kind}-{split}.json"
        for name, said, counted in _counted(record):
            if not np.allclose(said, counted, rtol=0, atol=_CLOSE, equal_nan=True):
                yield f"{path}: {name} does not follow from the record's own confusion matrix"
    for split, energy in run.energy.items():
        yield from (f"{run.folder}/energy-{split}.json: {fault}" for fault in _energy_faults(energy))
    for split, attended in run.attended.items():
        for name, said, curve in _areas(attended):
            if not math.isclose(said, float(np.mean([curve[:-1], curve[1:]])), rel_tol=0, abs_tol=_CLOSE):
                yield f"{run.folder}/attention-{split}.json: {name} does not follow from the record's own curve"
    for split, similar in run.similar.items():
        own = list(similar.spread_by_class.values())
        if own and not math.isclose(similar.measures["spread"], math.fsum(own) / len(own), rel_tol=0, abs_tol=_CLOSE):
            yield f"{run.folder}/similarity-{split}.json: spread does not follow from the record's own classes"


def _energy_faults(record: EnergyRecord) -> Iterator[str]:
    for order, value in record.mhe.items():
        paper, ends = record.paper.get(order), record.interval.get(order)
        if value != (None if paper is None else (2 if order == "0" else 1) * paper):
            yield f"mhe of s = {order} does not follow from its own value in the convention paper"
        if value is not None and ends is not None and not ends.low <= value <= ends.high:
            yield f"mhe of s = {order} lies outside its own interval"
        parts = [part for part in (record.within.get(order), record.between.get(order)) if part is not None]
        if value is not None and len(parts) == 2 and not min(parts) - _CLOSE <= value <= max(parts) + _CLOSE:
            yield f"mhe of s = {order} does not lie between its means within classes and between them"


def _areas(record: AttentionScores) -> Iterator[tuple[str, float, list[float]]]:
    if (curves := record.curves) is not None:
        yield "deletion", curves.deletion, curves.deletion_curve
        yield "insertion", curves.insertion, curves.insertion_curve


def _counted(record: ScoreRecord) -> Iterator[tuple[str, np.ndarray | float, np.ndarray | float]]:
    """Name, value in the record and value from the counts, of every number that the counts give."""
    confusion = np.array(record.confusion, dtype=np.int64)
    said = np.array([np.nan if value is None else value for value in record.per_class])
    if isinstance(record, AccuracyRecord):
        yield "per_class", said, per_class_accuracy(confusion)
        yield "mean_per_class", record.mean_per_class, mean_per_class(confusion)
    else:
        yield "per_class", said, iou_per_class(confusion)
        yield "mean_iou", record.mean_iou, mean_iou(confusion)
    yield "overall", record.overall, float(np.trace(confusion) / confusion.sum())
