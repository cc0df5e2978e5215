"""Training logs for TensorBoard: event files made from ``log.jsonl``, which stays the only truth.

A log holds every step once, also after a resume, and so do the event files, which always have the same name and are
replaced as a whole. They have no times, since a log has none, and keep 24 bits of each number (float32).
"""

import importlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from csg_train.errors import UserError, printable
from csg_train.files import atomic_write, files_below
from csg_train.runs.training_log import read_log

__all__ = ["convert", "find_logs", "require_same_run"]

_SOURCE = "source.txt"
"""Beside the events: the folder of their run."""
EVENTS = "events.out.tfevents.0.csg-train"


def find_logs(roots: Sequence[Path]) -> dict[str, Path]:
    """The log of every run at or below ``roots``, by the run's folder below what all of them share.

    Raises:
        UserError: A root holds none.
    """
    logs: set[Path] = set()
    for root in roots:
        found = {path.resolve() for path in files_below(root, "log.jsonl")}
        if not found:
            raise UserError(f"{root}: no log.jsonl; give a run folder, or a folder that holds some (csg-train run)")
        logs |= found
    shared = Path(os.path.commonpath([path.parent.parent for path in logs]))
    return {path.parent.relative_to(shared).as_posix(): path for path in sorted(logs)}


def require_same_run(log: Path, folder: Path) -> None:
    """Refuse a folder with the events of another run; one of an earlier version does not say whose they are."""
    path = folder / _SOURCE
    if path.is_file() and (other := path.read_bytes()) != os.fsencode(log.parent):
        whose = printable(os.fsdecode(other))
        raise UserError(f"{folder}: has the events of {whose}; choose another --out, or give both in one call")


def convert(log: Path, folder: Path) -> Path:
    """Write the event file of one log into a folder, atomically, and give its path; beside it whose log it is.

    Raises:
        UserError: TensorBoard is not installed, or the log is damaged.
    """
    event_pb2, summary_pb2 = _import("compat.proto.event_pb2"), _import("compat.proto.summary_pb2")
    record_writer = _import("summary.writer.record_writer")
    events = [event_pb2.Event(file_version="brain.Event:2")]
    for step, values in read_log(log):
        scalars = [summary_pb2.Summary.Value(tag=name, simple_value=value) for name, value in values.items()]
        events.append(event_pb2.Event(step=step, summary=summary_pb2.Summary(value=scalars)))

    def write(stream: Any) -> None:
        writer = record_writer.RecordWriter(stream)
        for event in events:
            writer.write(event.SerializeToString())

    atomic_write(folder / EVENTS, write)
    atomic_write(folder / _SOURCE, lambda stream: stream.write(os.fsencode(log.parent)))
    return folder / EVENTS


def _import(module: str) -> Any:
    try:
        return importlib.import_module(f"tensorboard.{module}")
    except ImportError as error:
        raise UserError("TensorBoard is not installed; pip install 'csg-toolkit[tensorboard]'") from error
