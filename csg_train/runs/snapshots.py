"""Snapshots of a run, ``RUN/along/STEP/ckpt.pt``: which steps have one, and where each lies."""

from pathlib import Path

__all__ = ["ALONG", "owner_of", "snapshot_folder", "snapshot_folders", "snapshot_steps"]

ALONG = "along"


def snapshot_steps(steps: int, count: int) -> set[int]:
    """Steps that are kept: ``count`` equal parts of ``steps``, their ends rounded, with the start (0) and the last."""
    return {round(part * steps / count) for part in range(count + 1)} if count else set()


def snapshot_folder(run: Path, step: int) -> Path:
    """Where the checkpoint of one step and its records lie."""
    return run / ALONG / f"{step:06d}"


def snapshot_folders(run: Path) -> dict[int, Path]:
    """The folders that are there, by step, in the order of the steps."""
    found = [path for path in (run / ALONG).glob("*") if owner_of(path) == run]
    return {step: snapshot_folder(run, step) for step in sorted(int(path.name) for path in found)}


def owner_of(folder: Path) -> Path:
    """The run of a snapshot's folder; any other folder is its own."""
    run = folder.parent.parent
    return run if folder.name.isdecimal() and folder == snapshot_folder(run, int(folder.name)) else folder
