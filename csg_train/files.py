"""Writing and hashing files, and where ours are cached: who reads sees the old file or the new one, never a half."""

import contextlib
import fcntl
import glob
import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from csg_train.errors import UserError

__all__ = ["atomic_write", "data_root", "remove_abandoned", "sha256_file", "write_json", "write_text"]


@contextlib.contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, RuntimeError) as error:
        cause = error if isinstance(error, OSError) else error.__context__
        if not isinstance(cause, OSError):  # torch.save closes its archive on the way out, which hides what stopped it
            raise
        reason = cause.strerror or str(cause)
        raise UserError(f"{path}: cannot write ({reason}); free space or choose another folder") from error


def remove_abandoned(path: Path) -> None:
    """Remove temporary files of this file's writers that were killed: a living one holds a lock."""
    for abandoned in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        with contextlib.suppress(OSError), abandoned.open("r+b") as stream:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            abandoned.unlink()


def atomic_write(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file through ``write(stream)``: temporary file beside it, fsync, rename, fsync of the folder.

    Args:
        path: The file to create or replace; its folder is made when it does not exist.
        write: Receives the open binary stream.

    Raises:
        UserError: The disk is full or the folder cannot be written; the old file is untouched.
    """
    with _named_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(path)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        try:
            with os.fdopen(handle, "wb") as stream:
                with contextlib.suppress(OSError):  # a file system without locks: nothing is removed there
                    fcntl.flock(stream, fcntl.LOCK_EX)
                write(stream)
                stream.flush()
                os.fsync(stream.fileno())
            Path(name).chmod(0o644)
            Path(name).replace(path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically (see `atomic_write`)."""
    atomic_write(path, lambda stream: stream.write(text.encode()))


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically with sorted keys; a NaN or infinity is an error, for JSON has none."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n")


def sha256_file(path: Path) -> str:
    """The SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def data_root() -> Path:
    """Where demo data and decoded pictures live: ``CSG_DATA_DIR``, else ``csg-toolkit`` in the user's cache folder."""
    chosen = os.environ.get("CSG_DATA_DIR")
    if chosen:
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "csg-toolkit"
