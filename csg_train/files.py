"""Writing and hashing files, and where ours are cached: who reads sees the old file or the new one, never a half."""

import contextlib
import csv
import fnmatch
import glob
import hashlib
import importlib
import importlib.resources
import io
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from csg_train.errors import UserError
from csg_train.program import undivided, unfinished

__all__ = [
    "atomic_write",
    "csv_text",
    "data_root",
    "files_below",
    "foreign_content",
    "home_expanded",
    "is_safetensors",
    "lies_in",
    "packaged_table",
    "read_hashed",
    "remove_abandoned",
    "require_new",
    "require_outside",
    "sha256_file",
    "together",
    "write_csv",
    "write_json",
    "write_text",
    "writing",
]

_HIDDEN = ".csg-*.tmp"
_Content = TypeVar("_Content")


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """What the system refuses here becomes a `UserError` that says that this file or folder cannot be written."""
    try:
        yield
    except (OSError, RuntimeError) as error:
        cause = error if isinstance(error, OSError) else error.__context__
        if not isinstance(cause, OSError):  # torch.save closes its archive on the way out, which hides what stopped it
            raise
        reason = cause.strerror or str(cause)
        raise UserError(f"{path}: cannot write ({reason}); free space or choose another folder") from error


def _lock(handle: int, *, wait: bool) -> None:
    """Lock an open file or folder for this process; an `OSError` where another has it, or where there are no locks."""
    try:
        fcntl = importlib.import_module("fcntl")
    except ImportError as error:  # Windows
        raise OSError("no locks") from error
    fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


def remove_abandoned(path: Path) -> None:
    """Remove temporary files of this file's writers that were killed: a living one holds a lock."""
    for abandoned in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        with contextlib.suppress(OSError), abandoned.open("r+b") as stream:
            _lock(stream.fileno(), wait=False)
            abandoned.unlink()


def atomic_write(path: Path, write: Callable[[BinaryIO], object]) -> None:
    """Write a file through ``write(stream)``: temporary file beside it, fsync, rename, fsync of the folder.

    Args:
        path: The file to create or replace; its folder is made when it does not exist.
        write: Receives the open binary stream.

    Raises:
        UserError: The disk is full or the folder cannot be written; the old file is untouched.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_abandoned(path)
        temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
        try:
            with unfinished(temporary), _created(temporary) as stream:
                write(stream)
                stream.flush()
                os.fsync(stream.fileno())
                if os.name == "nt":  # what is open cannot be renamed there, nor removed, so a lock is not missed
                    stream.close()
                temporary.replace(path)  # under the lock: another writer would take it for abandoned
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise
        with contextlib.suppress(PermissionError):  # Windows opens no folder
            folder = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(folder)
            finally:
                os.close(folder)


def _created(temporary: Path) -> BinaryIO:
    """A new file under a lock; made again where another writer took it for abandoned before it had one."""
    while True:
        stream = temporary.open("xb")  # not by tempfile, whose files are their owner's alone
        with contextlib.suppress(OSError):  # a file system without locks: nothing is removed there
            _lock(stream.fileno(), wait=True)
        if temporary.exists():
            return stream
        stream.close()


def _created_folder(beside: Path, lock: contextlib.ExitStack) -> Path:
    """The same of a folder, locked until ``lock`` closes."""
    prefix, suffix = _HIDDEN.split("*")
    while True:
        hidden = Path(tempfile.mkdtemp(dir=beside, prefix=prefix, suffix=suffix))
        with contextlib.suppress(OSError):
            lock.enter_context(_locked(hidden, wait=True))
        if hidden.is_dir():
            return hidden


@contextlib.contextmanager
def _locked(folder: Path, *, wait: bool) -> Iterator[None]:
    """Hold a lock on a folder; an `OSError` where it is refused, or where there are none."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        _lock(handle, wait=wait)
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def together(folder: Path, *, new_for: str = "") -> Iterator[Path]:
    """A hidden folder that becomes ``folder`` when the block ends well: all that is written there, or nothing.

    What is in ``folder`` already stays, but for files of the same names; for an option that asks for a new folder,
    ``new_for``, nothing may have come into it meanwhile.

    Raises:
        UserError: ``folder`` cannot be written, or the disk is full, or another command has filled it.
    """
    new = not folder.exists()
    beside = folder.parent if new else folder
    with writing(folder):
        beside.mkdir(parents=True, exist_ok=True)
        for abandoned in beside.glob(_HIDDEN):  # of a process that was killed
            with contextlib.suppress(OSError), _locked(abandoned, wait=False):
                shutil.rmtree(abandoned)
        lock = contextlib.ExitStack()
        hidden = _created_folder(beside, lock)
    work = hidden / "folder"  # not their owner's alone, as what mkdtemp makes
    lock.enter_context(unfinished(hidden))
    try:
        with writing(folder):
            work.mkdir()
            yield work
            if new_for:
                require_new(folder, new_for)
            if new:
                work.replace(folder)
            else:
                _move_into(folder, work)
    except UserError as error:  # of a file in there: the user knows it by the name that it was to have
        raise UserError(error.message.replace(f"{work}{os.sep}", f"{folder}{os.sep}")) from error
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
        lock.close()


def _move_into(folder: Path, work: Path) -> None:
    with undivided():
        for path in sorted(path for path in work.rglob("*") if path.is_file()):
            place = folder / path.relative_to(work)
            place.parent.mkdir(parents=True, exist_ok=True)
            path.replace(place)


def require_new(folder: Path, option: str) -> None:
    """Refuse to write a whole folder where something is, but for the hidden folders of `together`.

    Raises:
        UserError: It is a file, or a folder that is not empty.
    """
    if folder.exists() and (not folder.is_dir() or not all(path.match(_HIDDEN) for path in folder.iterdir())):
        raise UserError(f"{folder}: not an empty folder; choose another {option}")


def lies_in(path: Path, folder: Path) -> bool:
    """Whether a path is a folder that is there, or below it, whatever links lead to either."""
    return folder.is_dir() and Path(os.path.realpath(path)).is_relative_to(folder.resolve())  # a link to itself too


def require_outside(out: Path, shown: Path) -> None:
    """Refuse to put pictures into a folder of pictures, all of which are taken, at any depth: the next time these too.

    Raises:
        UserError: ``out`` is ``shown``, or in it.
    """
    if lies_in(out, shown):
        raise UserError(
            f"--out {out}: in {shown}, whose pictures are read; the next call would read these too; choose another"
        )


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically (see `atomic_write`); what of a name is not UTF-8 becomes an escape."""
    atomic_write(path, lambda stream: stream.write(text.encode(errors="backslashreplace")))


def csv_text(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table as CSV; an empty field for None."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue()


def write_csv(path: Path, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a table as CSV, atomically."""
    write_text(path, csv_text(header, rows))


def write_json(path: Path, value: Any) -> None:
    """Write JSON atomically with sorted keys; a NaN or infinity is an error, for JSON has none."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False) + "\n")


def read_hashed(path: Path, read: Callable[[Path], _Content]) -> tuple[_Content, str]:
    """What ``read`` finds in a file, and the SHA-256 of those very bytes; one that is replaced is read again.

    Raises:
        ValueError: It changes each time.
        Exception: What ``read`` raises.
    """
    for _ in range(3):
        before = path.stat()
        content, digest = read(path), sha256_file(path)
        after = path.stat()
        if all(getattr(before, name) == getattr(after, name) for name in ("st_ino", "st_size", "st_mtime_ns")):
            return content, digest
    raise ValueError("it changes while it is read; wait for what writes it")


def sha256_file(path: Path) -> str:
    """The SHA-256 of a file's bytes, as 64 hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def files_below(root: Path, *patterns: str) -> list[Path]:
    """Every file at or below a folder whose name fits one of the patterns, in no order; no linked folder is followed.

    Hidden folders below it (``.Trash``, ``.ipynb_checkpoints``, snapshots of a server) hold copies, and are left out.

    What is not there, or is no folder, has none.

    Raises:
        UserError: A folder cannot be read.
    """

    def refuse(error: OSError) -> None:
        if isinstance(error, FileNotFoundError | NotADirectoryError):
            return
        raise UserError(
            f"{error.filename}: cannot read the folder ({error.strerror}); make it readable or remove it"
        ) from error

    found: list[Path] = []
    for folder, below, names in os.walk(root, onerror=refuse):
        below[:] = [name for name in below if not name.startswith(".")]
        found += [Path(folder) / name for name in names if any(fnmatch.fnmatchcase(name, one) for one in patterns)]
    return found


def packaged_table(package: str, name: str) -> list[dict[str, str]]:
    """The rows of a CSV table that lies in one of our packages."""
    text = importlib.resources.files(package).joinpath(name).read_text(encoding="utf-8")
    return list(csv.DictReader(io.StringIO(text)))


def data_root() -> Path:
    """Where demo data and decoded pictures live: ``CSG_DATA_DIR``, else ``csg-toolkit`` in the user's cache folder."""
    chosen = os.environ.get("CSG_DATA_DIR")
    if chosen:
        return home_expanded(Path(chosen), "CSG_DATA_DIR")
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return home_expanded(Path(cache), "demo data and the cache") / "csg-toolkit"


def home_expanded(path: Path, what: str) -> Path:
    """A path with the home folder in place of a leading ``~``; ``what`` names it in the error.

    Raises:
        UserError: This user has no home folder.
    """
    try:
        return path.expanduser()
    except RuntimeError as error:
        raise UserError(f"{what}: {path}: no home folder here (HOME is not set); set HOME or CSG_DATA_DIR") from error


_STARTS = {
    b"version https://git-lfs": "a git-lfs pointer, not the file itself; git lfs pull fetches it",
    b"/annex/objects/": "a git-annex pointer, not the file itself; git annex get fetches it",
    b"<!doctype": "a web page, as a failed download leaves it; download it again",
    b"<html": "a web page, as a failed download leaves it; download it again",
    b"<?xml": "an XML document, as a failed download leaves it; download it again",
    b"\xff\xfe": "UTF-16, not UTF-8; save it as UTF-8",
    b"\xfe\xff": "UTF-16, not UTF-8; save it as UTF-8",
    b"gif8": "a GIF; convert it to PNG",
    b"ii*\0": "a TIFF; convert it to PNG",
    b"mm\0*": "a TIFF; convert it to PNG",
    b"\x1f\x8b": "compressed by gzip; unpack it",
    b"\xfd7zxz\x00": "compressed by xz; unpack it",
    b"bzh": "compressed by bzip2; unpack it",
    b"\x89hdf": "an HDF5 file, as Keras writes weights and BlenderProc pictures (docs/data.md, from a simulator)",
    b"v/1\x01": "an EXR; convert it to PNG",
}


def is_safetensors(start: bytes) -> bool:
    """Whether a file that starts so holds safetensors: the length of a JSON header, then the header."""
    return start[8:9] == b"{" and int.from_bytes(start[:8], "little") < 1 << 27


def foreign_content(path: Path) -> str | None:
    """What a file is that cannot be read as what it should be, by its first bytes; None where they say nothing."""
    try:
        with path.open("rb") as stream:
            start = stream.read(256)
    except IsADirectoryError:
        return "a folder"
    except OSError:
        return None
    if not start:
        return "empty, 0 bytes"
    begun = start.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if is_safetensors(start):
        return "a safetensors file"
    if start[4:8] == b"ftyp":
        return "HEIC, AVIF or a film; convert it to PNG"
    return next((what for first, what in _STARTS.items() if begun.startswith(first)), None)
