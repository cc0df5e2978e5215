"""The folder of a run: taken for one process, and what a new run may not find in it."""

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

import filelock

from csg_train.console import console
from csg_train.distributed import is_first
from csg_train.engine.profiling import PROFILE
from csg_train.errors import BusyError, UserError
from csg_train.files import writing
from csg_train.runs.cost import COST
from csg_train.runs.snapshots import ALONG, snapshot_folders
from csg_train.splits import SPLITS

__all__ = ["locked", "make_ready", "remove_records", "remove_run"]

_RUN = ("log.jsonl", "ckpt.pt", "best.pt", "average.pt")
_MEASURED = (
    *("accuracy", "segmentation", "unlabelled", "confusion", "energy", "attention", "similarity", "sphere"),
    *("choosing", "predictions"),
)
_RECORDS = (
    *("attention.json", "attention.npz"),
    *(f"{what}-{split}.{ending}" for what in _MEASURED for split in SPLITS for ending in ("json", "csv", "npz")),
)
_OUTPUTS = (*_RUN, "recipe.yaml", COST, PROFILE, *_RECORDS)
"""Files of a run and of what measures it, by their very names: what is called otherwise is the user's own."""


def make_ready(out: Path, *, resume: bool, overwrite: bool, weights: str | Path) -> None:
    """Refuse a folder that holds a run; the first process looks, and the others are silent from here on.

    Raises:
        UserError: It holds one, and neither was asked for, or the starting weights are among what is overwritten.
    """
    if not is_first():
        console.quiet = True
    elif any((out / name).exists() for name in _RUN) and not (resume or overwrite):
        raise UserError(f"{out}: holds a run; continue it with --resume, or replace it with --overwrite")
    elif overwrite and isinstance(weights, Path) and weights.resolve().is_relative_to(out.resolve()):
        raise UserError(f"{weights}: starting weights in {out}, whose run --overwrite removes; copy them elsewhere")


def remove_run(out: Path) -> None:
    """Take away what the folder holds of a run: records of the old checkpoint must not stand beside the new one.

    Raises:
        UserError: The folder cannot be written.
    """
    if is_first():
        with writing(out):
            snapshots = snapshot_folders(out).values()
            _unlink(folder / name for folder in (*snapshots, out) for name in _OUTPUTS)
            for folder in (*snapshots, out / ALONG):
                with contextlib.suppress(OSError):  # it is not there, or holds something of the user's
                    folder.rmdir()


def remove_records(out: Path) -> None:
    """Take away what the run that goes on was measured at: a sweep would call it finished, a report print old numbers.

    Raises:
        UserError: The folder cannot be written.
    """
    if is_first():
        with writing(out):
            _unlink(out / name for name in _RECORDS)


def _unlink(files: Iterable[Path]) -> None:
    for file in files:
        if file.is_symlink() or file.is_file():
            file.unlink()


@contextlib.contextmanager
def locked(out: Path) -> Iterator[None]:
    """Make the folder, and keep every other process out of it within the block; the first process alone does so.

    Raises:
        BusyError: Another one is writing it.
        UserError: It cannot be made.
    """
    if not is_first():
        yield
        return
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock = filelock.FileLock(out / ".lock", blocking=False)
        lock.acquire()
    except filelock.Timeout as error:
        raise BusyError(
            f"{out}: another csg-train is writing this folder; wait for it or choose another --out"
        ) from error
    except OSError as error:
        raise UserError(f"{out}: cannot write ({error.strerror or error}); choose another --out") from error
    try:  # of its own: what fails while the run goes on is no fault of the folder
        yield
    finally:
        lock.release()
