"""What a program does when its surroundings fail it: Ctrl-C at any moment, output that cannot be written.

No traceback ever; docs/command-line.md lists the exit codes. `start` changes the process that calls it, for good: it
belongs at the entry of a program, and nowhere else.
"""

import contextlib
import errno
import io
import logging
import os
import select
import shutil
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

from csg_train.errors import UserError

__all__ = ["ENDINGS", "needs_reader", "of_several", "start", "undivided", "unfinished", "usable_cores"]

ENDINGS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Signals that end a program; Windows has no SIGHUP."""
_BROKEN_PIPE = 13  # SIGPIPE, of which Windows has none

_held: list[int] | None = None  # signals that wait for the end of a block
_unfinished: dict[Path, int] = {}  # and the process that made it: a fork has its parent's in memory


class _Output(io.FileIO):
    """Standard output or error that survives its reader, whoever writes to it, text or bytes.

    What cannot be written goes nowhere, from then on; where the output is what the program is for, it ends.
    """

    needed = False

    def write(self, data: Any) -> int:
        try:
            while (written := super().write(data)) is None:  # a pipe that does not block, and is full
                select.select([], [self], [])
            return written
        except OSError as error:
            self._lose(error)
            return memoryview(data).nbytes

    def _lose(self, error: OSError) -> None:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self.fileno())  # what is still in the buffer goes there too
        os.close(null)
        unheard = error.errno in (errno.EPIPE, errno.EIO)  # a pipe, and a terminal, that nobody reads any more
        if self.needed and unheard:
            raise SystemExit(128 + _BROKEN_PIPE)
        found = f"standard output: cannot write ({error.strerror})"
        if self.needed:
            raise UserError(f"{found}; free space or send it elsewhere")
        if self.fileno() == 1 and not unheard and sys.stderr is not None:
            sys.stderr.write(f"{found}; going on without it\n")


def _own(stream: Any) -> _Output | None:
    """What a text stream of ours writes to; None of another."""
    raw = getattr(getattr(stream, "buffer", None), "raw", None)
    return raw if isinstance(raw, _Output) else None


def start() -> None:
    """Make this process one of our programs: call it before the heavy imports, and again without effect."""
    for ending in ENDINGS:
        if ending == signal.SIGINT or signal.getsignal(ending) != signal.SIG_IGN:  # which nohup asks for
            signal.signal(ending, _interrupt)
    os.environ.pop("MPLBACKEND", None)  # we draw into files, and matplotlib ends with a traceback at a name it dropped
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it logs lines of its cache's folder where HOME is none
    sys.unraisablehook = _unraisable
    threading.excepthook = _failed_thread
    _require_folder()
    for number in range(3):  # one that is closed would be the next file that is opened
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDONLY)
    for name, number in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        if _own(stream) is not None or (os.name == "nt" and os.isatty(number)):  # a console there takes no bytes
            continue
        encoding = stream.encoding if stream is not None else "utf-8"
        terminal = os.isatty(number) or name == "stderr"
        raw = io.BufferedWriter(_Output(number, "w", closefd=False))
        # what its encoding cannot hold is written as an escape
        setattr(sys, name, io.TextIOWrapper(raw, encoding, "backslashreplace", line_buffering=terminal))


def _require_folder() -> None:
    """Without a working directory numpy's and torch's libraries end the process as they load, in words of their own."""
    try:
        os.getcwd()  # noqa: PTH109 - quick
    except OSError as error:
        sys.stderr.write(f"Error: the working directory: {error.strerror}; go to a folder that exists (cd)\n")
        raise SystemExit(UserError.exit_code) from None


def usable_cores() -> int:
    """Processors that this process may use; where the system does not tell (macOS, Windows), all of them."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def of_several() -> bool:
    """Whether torchrun says that it started this process beside others, whether they have met or not."""
    return (os.environ.get("WORLD_SIZE") or "1") != "1"


def needs_reader() -> None:
    """Say that standard output is what this command is for, so that it ends when nobody takes it."""
    if (own := _own(sys.stdout)) is not None:
        own.needed = True


@contextlib.contextmanager
def unfinished(path: Path) -> Iterator[None]:
    """While the block runs, an end that unwinds nothing removes this file or folder."""
    _unfinished[path] = os.getpid()
    try:
        yield
    finally:
        del _unfinished[path]


@contextlib.contextmanager
def undivided() -> Iterator[None]:
    """A signal within the block ends the program behind it: for moments, such as renames that belong together."""
    global _held
    if _held is not None:  # within another
        yield
        return
    held: list[int] = []
    _held = held
    try:
        yield
    finally:
        _held = None
    if held:
        raise SystemExit(128 + held[0])


def _end_at_once(code: int) -> None:
    for path, owner in tuple(_unfinished.items()):
        if owner == os.getpid():
            shutil.rmtree(path, ignore_errors=True)
            with contextlib.suppress(OSError):
                path.unlink()
    os._exit(code)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """Ctrl-C, or another end: unwind, but end at once in an import, where libraries make other errors of it."""
    if _held is not None:
        _held.append(number)
        return
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            _end_at_once(128 + number)
        frame = frame.f_back
    raise SystemExit(128 + number)


def _unraisable(found: Any) -> None:
    """Ctrl-C in code that can pass nothing on (a destructor, the interpreter's end) ends the program all the same."""
    if isinstance(found.exc_value, SystemExit):
        _end_at_once(int(found.exc_value.code or 0))
    sys.__unraisablehook__(found)


def _failed_thread(found: threading.ExceptHookArgs) -> None:
    """The thread that pins batches loses its loader process: silent, for who waits for the batch is told."""
    if not isinstance(found.exc_value, OSError | EOFError):
        threading.__excepthook__(found)
