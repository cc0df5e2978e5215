"""Arrays that lie beside a record: GradCAM maps, and predicted masks."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from csg_analysis.report.load import Run
from csg_train.errors import UserError
from csg_train.files import sha256_file

__all__ = ["Masks", "masks_file", "other_masks", "read_arrays", "read_maps", "read_masks"]


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
        UserError: The file is missing, damaged, outside the run's folder, or does not fit the record.
    """
    assert run.attention is not None
    path = run.folder / Path(run.attention.arrays).name
    again, count = "run csg-analyze gradcam again", len(run.attention.pictures)
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


def masks_file(run: Run, split: str) -> Path:
    """Where the arrays of a run's predictions record lie."""
    return run.folder / Path(run.predicted[split].arrays).name


def other_masks(run: Run, split: str) -> bool:
    """Whether these arrays are there, and not those that the record is of."""
    path = masks_file(run, split)
    return path.is_file() and sha256_file(path) != run.predicted[split].arrays_sha256


def read_masks(run: Run, split: str) -> list[Masks]:
    """The arrays of a run's predictions record, picture by picture.

    Raises:
        UserError: The file is missing, damaged, or does not fit the record.
    """
    record, path = run.predicted[split], masks_file(run, split)
    again = f"run csg-analyze predictions --images {split} again"
    if other_masks(run, split):
        raise UserError(f"{path}: not what predictions-{split}.json is of (SHA-256); {again}")
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
