"""Loader processes that die: found within seconds, at the next batch, and said in one line."""

import multiprocessing
import multiprocessing.queues
import os
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from multiprocessing.connection import wait
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any

from rich.filesize import decimal
from torch.utils.data import DataLoader

from csg_train.errors import UserError

__all__ = ["end_with_feeder", "iterate"]

_SHARED = "/dev/shm"  # noqa: S108 - where torch's processes hand over their batches
_CHILD = getattr(signal, "SIGCHLD", None)  # Windows has none
_MOMENT = 5.0
"""Seconds: a batch that breaks off tells of a process's death before the system does."""
_EXITED = "exited unexpectedly"  # torch's words, for a process and for the thread that pins memory


def end_with_feeder(_worker: int) -> None:
    """``worker_init_fn``: a process that cannot hand over a batch ends, since nobody would be told of it otherwise.

    One whose program ended while it took a batch says nothing: an error of its own goes to the program. One whose
    program ended before this call ends here: torch's own watch, which begins after it, would see nothing change.
    """
    program, forked = multiprocessing.parent_process(), multiprocessing.get_start_method() == "fork"
    if program is not None and forked and os.getppid() != program.pid:
        os._exit(1)
    sys.excepthook = _lost_program
    multiprocessing.queues.Queue._on_queue_feeder_error = staticmethod(  # type: ignore[attr-defined]
        lambda _error, _batch: os._exit(1)
    )


def _lost_program(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if not isinstance(error, OSError | EOFError):
        sys.__excepthook__(kind, error, trace)


def iterate(loader: DataLoader[Any]) -> Iterator[Any]:
    """The batches of a loader.

    torch's own watch on its processes raises an error wherever the program is, in the middle of a step or of a
    checkpoint; here it is raised where a batch is asked for.

    Raises:
        UserError: A process died or could not be started, or there was no memory for a batch.
    """
    watch, known = _CHILD and signal.getsignal(_CHILD), set(multiprocessing.active_children())
    processes: list[BaseProcess] = []
    try:
        batches = iter(loader)
        if _CHILD and signal.getsignal(_CHILD) is not watch:
            signal.signal(_CHILD, watch)
        processes = [process for process in multiprocessing.active_children() if process not in known]
        yield from batches
    except (OSError, EOFError, RuntimeError, MemoryError) as error:
        if not loader.num_workers or (reason := _reason(error, processes)) is None:
            raise
        raise UserError(
            f"train.workers: {reason}{_shared_memory()}; free memory, give more shared memory (docker run --shm-size), "
            "or set train.workers=0"
        ) from error


def _reason(error: Exception, processes: list[BaseProcess]) -> str | None:
    """What became of the loader processes; None where the error is not theirs."""
    text = str(error)
    if isinstance(error, OSError | EOFError) and processes:
        ended = wait([process.sentinel for process in processes], _MOMENT)
        for process in processes:
            process.join(None if process.sentinel in ended else 0)
    codes = [code for process in processes if (code := process.exitcode)]
    if _EXITED in text or codes:
        killed = [signal.Signals(-code).name for code in codes if code < 0]
        if not killed and not _can_meet():
            return "a loader process could not hand over its batch, for no temporary folder can be written (set TMPDIR)"
        return f"a loader process {f'was ended by {killed[0]}' if killed else 'could not hand over its batch'}"
    last = text.strip().rsplit("\n", 1)[-1]
    if not processes:
        return f"loader processes cannot be started ({last})"
    if isinstance(error, MemoryError) or "allocate" in text or "open files" in text:
        return f"a loader process has no memory for a batch ({last})"
    return None


def _can_meet() -> bool:
    """Whether there is a temporary folder, in which the processes open a socket."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        return False
    return True


def _shared_memory() -> str:
    try:
        space = shutil.disk_usage(_SHARED)
    except OSError:
        return ""
    return f" ({decimal(space.free)} of {decimal(space.total)} of {_SHARED} are free)"
