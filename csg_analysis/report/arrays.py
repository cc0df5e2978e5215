"""Arrays that lie beside a record: GradCAM maps, and predicted masks."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from csg_analysis.report.load import Run
from csg_train.errors import UserError
from csg_train.files import sha256_file
from csg_train.runs.records import AttentionRecord, PredictionsRecord

__all__ = ["Masks", "arrays_file", "other_arrays", "read_arrays", "read_maps", "read_masks"]


def arrays_file(run: Run, record: AttentionRecord | PredictionsRecord) -> Path:
    """Where the arrays of a run's record lie."""
    return run.folder / Path(record.arrays).name


def other_arrays(run: Run, record: AttentionRecord | PredictionsRecord) -> bool:
    """Whether these arrays are there, and not those that the record is of (of an earlier one nobody knows)."""
    path = arrays_file(run, record)
    return record.arrays_sha256 is not None and path.is_file() and sha256_file(path) != record.arrays_sha256


def _require_own(run: Run, record: AttentionRecord | PredictionsRecord, again: str) -> Path:
    path = arrays_file(run, record)
    if other_arrays(run, record):
        raise UserError(f"{path}: not what {path.stem}.json is of (SHA-256); {again}")
    return path


def read_arrays(path: Path, names: Sequence[str], *, again: str) -> list[np.ndarray]:
    """The named arrays of an archive.

    Raises:
        UserError: It is missing or damaged, or lacks one; ``again`` is the way out.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as arrays:
            return [arrays[name] for name in names]
    except Exception as error:  # of many types where it is damaged: zipfile's, zlib's, numpy's
        raise UserError(f"{path}: missing or damaged; {again}") from error


def read_maps(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """The arrays of a run's attention record: maps ``(N, H, W)`` and pictures ``(N, H, W, 3)`` uint8.

    Raises:
        UserError: The file is missing, damaged, or not the one that the record is of.
    """
    assert run.attention is not None
    again, count = "run csg-analyze gradcam again", len(run.attention.pictures)
    path = _require_own(run, run.attention, again)
    maps, images = read_arrays(path, ("maps", "images"), again=again)
    if maps.ndim != 3 or images.dtype != np.uint8 or images.shape != (*maps.shape, 3) or len(maps) != count:
        raise UserError(f"{path}: does not fit attention.json ({count} pictures); {again}")
    return maps, images


@dataclass(frozen=True)
class Masks:
    """One picture ``(H, W, 3)`` uint8, its true and its predicted mask ``(H, W)`` uint8."""

    picture: np.ndarray
    true: np.ndarray
    predicted: np.ndarray


def read_masks(run: Run, split: str) -> list[Masks]:
    """The arrays of a run's predictions record, picture by picture.

    Raises:
        UserError: The file is missing, damaged, or not the one that the record is of.
    """
    record, again = run.predicted[split], f"run csg-analyze predictions --images {split} again"
    path = _require_own(run, record, again)
    names = [f"{kind}_{index}" for index in range(len(record.pictures)) for kind in ("picture", "true", "predicted")]
    arrays = read_arrays(path, names, again=again)
    found = [Masks(*arrays[start : start + 3]) for start in range(0, len(arrays), 3)]
    if not all(_fits(own, len(record.colours), record.unknown) for own in found):
        raise UserError(f"{path}: does not fit predictions-{split}.json; {again}")
    return found


def _fits(own: Masks, classes: int, unknown: int) -> bool:
    shape = own.true.shape
    return (
        (own.picture.shape, own.predicted.shape) == ((*shape, 3), shape)
        and {array.dtype for array in (own.picture, own.true, own.predicted)} == {np.dtype(np.uint8)}
        and bool(((own.true < classes) | (own.true == unknown)).all())
        and bool((own.predicted < classes).all())
    )
