"""Reading run folders: records, training log, recipe, cost, and the remarks beside them; never a checkpoint."""

import json
import os
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from csg_analysis.report.belonging import check_snapshots
from csg_analysis.report.logged import Curve, read_curves
from csg_train.errors import UserError, printable
from csg_train.files import files_below, read_hashed, sha256_file
from csg_train.runs.cost import COST, Cost, read_cost
from csg_train.runs.labels import settings_of
from csg_train.runs.records import (
    AccuracyRecord,
    AttentionRecord,
    AttentionScores,
    ChoosingRecord,
    EnergyRecord,
    PredictionsRecord,
    Record,
    RunInfo,
    ScoreRecord,
    SegmentationRecord,
    SimilarityRecord,
    SphereRecord,
    UnlabelledRecord,
    read_record,
    trained,
)
from csg_train.runs.snapshots import owner_of, snapshot_folders
from csg_train.splits import SELECTED_ON
from csg_train.yaml_files import read_yaml

__all__ = ["Run", "checkpoint_file", "fitting", "load_runs", "named_record", "record_files", "repeated", "unmeasured"]

_PATTERNS = (
    *("accuracy-*.json", "segmentation-*.json", "energy-*.json", "attention.json"),
    *("attention-*.json", "similarity-*.json", "sphere-*.json", "unlabelled-*.json", "choosing-*.json"),
    "predictions-*.json",
)

_Kind = TypeVar("_Kind", bound=Record)


@dataclass(frozen=True, kw_only=True)
class Run:
    """One run folder, or the folder of one of its snapshots, as its records describe it.

    Attributes:
        name: The folder, relative to the folder that all runs of the report share.
        folder: Where it lies.
        info: Where the checkpoint comes from; equal in all records.
        energy: By split.
        scores: Accuracy, or intersection over union of a segmentation, by split.
        attention: GradCAM, if it was measured.
        attended: What GradCAM maps of a whole split are worth, by split.
        similar: Beside the starting weights, by split.
        sphere: Features on a circle, by split.
        unlabelled: What it predicts where pictures have no labels and accuracy is unknown, by split.
        choosing: Measures that need no real label, by split.
        predicted: Masks of some pictures of a segmentation, by split.
        curves: Logged terms by name.
        last_step: Last step of the log, None without a log.
        recipe: The resolved recipe as plain values, empty without one.
        cost: What its steps took; None of earlier and of very short runs.
        along: Snapshots of the run that were measured, by step, in their order.
        files: Record files, those of the snapshots and of the cost too, and the SHA-256 of each.
        remarks: Lines of ``remarks.txt`` beside the run folders: what the author has to say of all of them.
    """

    name: str
    folder: Path
    info: RunInfo
    energy: Mapping[str, EnergyRecord]
    scores: Mapping[str, ScoreRecord]
    attention: AttentionRecord | None
    attended: Mapping[str, AttentionScores] = field(default_factory=dict)
    similar: Mapping[str, SimilarityRecord] = field(default_factory=dict)
    sphere: Mapping[str, SphereRecord] = field(default_factory=dict)
    unlabelled: Mapping[str, UnlabelledRecord] = field(default_factory=dict)
    choosing: Mapping[str, ChoosingRecord] = field(default_factory=dict)
    predicted: Mapping[str, PredictionsRecord] = field(default_factory=dict)
    curves: Mapping[str, Curve] = field(default_factory=dict)
    last_step: int | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)
    cost: Cost | None = None
    along: Mapping[int, "Run"] = field(default_factory=dict)
    files: tuple[tuple[str, str], ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def pair(self) -> tuple[str, int]:
        """Runs of different methods with an equal ``pair`` differ in the method alone."""
        return self.info.source_identity, self.info.seed

    @property
    def measured(self) -> tuple[Record, ...]:
        """Every record of a whole split."""
        by_split = (self.energy, self.scores, self.attended, self.similar, self.sphere, self.unlabelled, self.choosing)
        return tuple(record for records in by_split for record in records.values())

    @property
    def chose_elsewhere(self) -> bool:
        """Whether ``choose`` measured other pictures than those whose real score is known, which says nothing of it."""
        chosen, scored = self.choosing.get("target"), self.scores.get("target")
        return chosen is not None and scored is not None and chosen.data.identity != scored.data.identity

    @property
    def for_scale(self) -> str | None:
        """What the run is, where it is no method but stands beside them (`Recipe.for_scale`)."""
        text = self.recipe.get("for_scale")
        return text if isinstance(text, str) else None

    @property
    def task(self) -> str:
        """``classification`` or ``segmentation``, as the records and the recipe say."""
        masks = any(isinstance(record, SegmentationRecord) or record.data.fit == "whole" for record in self.measured)
        return "segmentation" if masks or self.recipe.get("segmentation") is not None else "classification"

    @property
    def checkpoint(self) -> str:
        """Name of the checkpoint file that was measured."""
        return checkpoint_file(self.info)

    @property
    def planned_steps(self) -> int | None:
        """Training steps of the recipe; None without one."""
        train = self.recipe.get("train")
        steps = train.get("steps") if isinstance(train, dict) else None
        return steps if isinstance(steps, int) else None

    @property
    def config(self) -> str:
        """What sets two runs of one method apart (`settings_of`), as one line of JSON."""
        return json.dumps(settings_of(self.info), sort_keys=True, ensure_ascii=False)


def checkpoint_file(info: RunInfo) -> str:
    """Name of the checkpoint file that holds a rule's step, or an average."""
    if info.averaged:
        return "average.pt"
    return "best.pt" if info.selection in SELECTED_ON else "ckpt.pt"


def load_runs(roots: Sequence[Path]) -> list[Run]:
    """Read every run folder at or below ``roots``, sorted by path.

    Raises:
        UserError: A root is missing, no records are found, a record is damaged, records of one folder come from
            different checkpoints, one checkpoint lies in two folders, or a snapshot's record is not of its run.
    """
    folders, shared = _folders(roots)
    names: dict[str, str] = {}
    runs = [_load(folder, printable(folder.relative_to(shared).as_posix()), names) for folder in folders]
    _check_distinct(runs)
    return runs


def unmeasured(roots: Sequence[Path]) -> list[str]:
    """The runs at or below ``roots`` that were begun and have no record, by name: they are in no number."""
    measured, shared = _folders(roots)
    begun = {path.parent.resolve() for root in roots for path in files_below(root, "log.jsonl")}
    return sorted(printable(os.path.relpath(folder, shared)) for folder in begun.difference(measured))


def _folders(roots: Sequence[Path]) -> tuple[list[Path], Path]:
    """The folders of measured runs, sorted, and the one from which they are named."""
    folders = sorted({owner_of(path.parent.resolve()) for path in record_files(roots)})
    return folders, Path(os.path.commonpath(folders)) if len(folders) > 1 else folders[0].parent


def record_files(roots: Sequence[Path]) -> list[Path]:
    """The records at or below some folders, sorted by path in each.

    Raises:
        UserError: There is no root, or one is missing or a file, or has no record.
    """
    for root in roots:
        if not root.is_dir():
            what = "a file" if root.is_file() else "no such folder"
            raise UserError(f"{root}: {what}; give a run folder, or a folder that holds some (csg-train run)")
    if not roots:
        raise UserError("no folder of runs given; give a run folder, or a folder that holds some (csg-train run)")
    found = {root: sorted(files_below(root, *_PATTERNS)) for root in roots}
    for root, paths in found.items():
        if not paths:
            raise UserError(f"{root}: no records; train with csg-train run, then measure with csg-analyze")
    return [path for paths in found.values() for path in paths]


def _load(folder: Path, name: str, names: dict[str, str]) -> Run:
    hashes: dict[Path, str] = {}
    records = _records(folder, names, hashes)
    if not records:
        raise UserError(f"{folder}: only its snapshots were measured; measure the run too (csg-analyze energy)")
    snapshots = {step: _records(path, names, hashes) for step, path in snapshot_folders(folder).items()}
    check_snapshots(records, snapshots)
    recipe = _read_recipe(folder / "recipe.yaml")
    along = {
        step: _run(found, next(iter(found)).parent, f"{name} step {step}", recipe=recipe)
        for step, found in snapshots.items()
        if found
    }
    curves, last_step = read_curves(folder / "log.jsonl")
    measured = _run(records, folder, name)
    if measured.info.options.get("average") in ("ema", "swad") and not measured.info.averaged:
        raise UserError(
            f"{folder}: measured with an earlier version, which called the last step's weights the average; "
            "run every csg-analyze command again on its average.pt"
        )
    cost = _read_cost(folder / COST, measured.info)
    return replace(
        measured,
        curves=curves,
        last_step=last_step,
        recipe=recipe,
        cost=cost,
        along=along,
        files=tuple(
            (path.relative_to(folder).as_posix(), hashes.get(path) or sha256_file(path))
            for path in (*records, *([folder / COST] if cost else []), *(p for own in snapshots.values() for p in own))
        ),
        remarks=_read_remarks(folder.parent / "remarks.txt"),
    )


def _records(folder: Path, names: dict[str, str], hashes: dict[Path, str]) -> dict[Path, Record]:
    """The records of a folder; the hash of the very bytes that were read of each goes into ``hashes``."""
    found = {}
    for path in sorted(path for pattern in _PATTERNS for path in folder.glob(pattern)):
        try:
            record, hashes[path] = read_hashed(path, named_record)
        except UserError:
            raise
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}); restore it or measure again") from error
        except ValueError as error:  # it changes each time
            raise UserError(f"{path}: {error}") from error
        found[path] = _named_alike(record, names)
    return found


def _named_alike(record: Record, names: dict[str, str]) -> Record:
    """Pictures of one identity under the name that they had first: their folder has others on other machines."""
    fields = {name: getattr(record, name) for name in ("data", "held_out") if hasattr(record, name)}
    alike = {
        name: own.model_copy(update={"name": names.setdefault(own.identity, own.name)}) for name, own in fields.items()
    }
    return record.model_copy(update=alike)


def _run(records: Mapping[Path, Record], folder: Path, name: str, **others: Any) -> Run:
    return Run(
        name=name,
        folder=folder,
        info=_one_checkpoint({path: trained(record, path) for path, record in records.items()}),
        energy=_by_split(records, EnergyRecord),
        scores=_scores(records),
        attention=next((record for record in records.values() if isinstance(record, AttentionRecord)), None),
        attended=_by_split(records, AttentionScores),
        similar=_by_split(records, SimilarityRecord),
        sphere=_by_split(records, SphereRecord),
        unlabelled=_by_split(records, UnlabelledRecord),
        choosing=_by_split(records, ChoosingRecord),
        predicted=_by_split(records, PredictionsRecord),
        **others,
    )


def named_record(path: Path) -> Record:
    """A record, under the name that its command gives it."""
    record = read_record(path)
    named = "" if isinstance(record, AttentionRecord) else f"-{record.data.split}"
    if path.stem != record.kind.removesuffix("-scores") + named:
        raise UserError(
            f"{path}: holds the {record.kind} record of {record.data.split} under a name of its own; "
            "remove the copy, or measure again (csg-analyze)"
        )
    return record


def _by_split(records: Mapping[Path, Record], kind: type[_Kind]) -> dict[str, _Kind]:
    return {record.data.split: record for record in records.values() if isinstance(record, kind)}


def _scores(records: Mapping[Path, Record]) -> dict[str, ScoreRecord]:
    scores: dict[str, ScoreRecord] = {}
    for path, record in records.items():
        if isinstance(record, AccuracyRecord | SegmentationRecord):
            if record.data.split in scores:
                raise UserError(f"{path}: a second score of {record.data.split}; remove that of another run")
            scores[record.data.split] = fitting(record, path)
    return scores


def fitting(record: ScoreRecord, path: Path) -> ScoreRecord:
    """The record, if it has as many numbers as classes and its counts are those of its predictions."""
    count = len(record.classes)
    if [len(line) for line in record.confusion] != [count] * count or len(record.per_class) != count:
        raise UserError(f"{path}: its numbers do not fit its {count} classes; measure again (csg-analyze accuracy)")
    if isinstance(record, AccuracyRecord) and record.predicted and not _same_counts(record):
        raise UserError(f"{path}: its listed predictions do not fit its counts; measure again (csg-analyze accuracy)")
    return record


def _same_counts(record: AccuracyRecord) -> bool:
    try:
        return [
            np.bincount(own, minlength=len(record.classes)).tolist() for own in record.predictions
        ] == record.confusion
    except ValueError:
        return False


def _one_checkpoint(infos: Mapping[Path, RunInfo]) -> RunInfo:
    (first_path, first), *others = infos.items()
    for path, info in others:
        if info.checkpoint_sha256 != first.checkpoint_sha256:
            names = {checkpoint_file(info) for info in infos.values()}
            raise UserError(
                f"{path}: measured on checkpoint {info.checkpoint_sha256[:12]}, but {first_path.name} on "
                f"{first.checkpoint_sha256[:12]}; run every csg-analyze command again on this folder's {min(names)}"
            )
    return first


def _check_distinct(runs: Sequence[Run]) -> None:
    if found := repeated(runs, lambda run: run.info.checkpoint_sha256):
        run, other = found
        raise UserError(f"{run.folder}: the same checkpoint as {other.folder}; give only one of the two")


def repeated(runs: Sequence[Run], key: Callable[[Run], Hashable]) -> tuple[Run, Run] | None:
    """The first run whose key an earlier one has, and that one."""
    seen: dict[Hashable, Run] = {}
    for run in runs:
        if (other := seen.setdefault(key(run), run)) is not run:
            return run, other
    return None


def _read_cost(path: Path, info: RunInfo) -> Cost | None:
    cost = read_cost(path) if path.is_file() else None
    if cost and (cost.method, cost.seed) != (info.method, info.seed):
        raise UserError(f"{path}: of {cost.method}, seed {cost.seed}, not of this run; remove it")
    return cost


def _read_remarks(path: Path) -> tuple[str, ...]:
    try:
        text = path.read_text(encoding="utf-8") if path.is_file() else ""
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: not readable UTF-8 text ({error}); fix or remove it") from error
    return tuple(line.strip() for line in text.splitlines() if line.strip())


def _read_recipe(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    value = read_yaml(path)
    if not isinstance(value, dict):
        raise UserError(f"{path}: not a recipe; restore it or remove it")
    return value
