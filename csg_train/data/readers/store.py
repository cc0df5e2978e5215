"""The file of decoded pictures: their pixels end to end, memory-mapped, and a table that says whose they are.

Layout: the pixels of every file, row by row; the table, little-endian int64 ``(N, 5)``: size in bytes and modification
time in ns of the file, height, width and channels of its pixels; the tail: `_MAGIC`, N, SHA-256 of pixels and of table.
Shapes: H rows, W columns, C channels, N files.
"""

import hashlib
import os
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
import PIL

from csg_train.errors import UserError
from csg_train.files import atomic_write, data_root

__all__ = ["Store", "open_store", "store_path", "write_store"]

_MAGIC = b"csg-pictures/1\n\0"
_TAIL = struct.Struct("<16sQ32s32s")
_COLUMNS = 5
_CHUNK = 1 << 24
_REBUILD = "rebuild it: csg-train data cache RECIPE (with the --set of the run), or remove it"


@dataclass(frozen=True)
class Store:
    """An open store; its files are still as they were when it was built.

    Attributes:
        path: The file.
        pixels: All of them, mapped, ``(bytes,)`` uint8; a store that replaces the file does not change them.
        shapes: Height, width and channels of each file's pixels, ``(N, 3)``.
        offsets: Where each file's pixels begin, and where the last end, ``(N + 1,)``.
        sha256: Of the pixels.
    """

    path: Path
    pixels: np.ndarray
    shapes: np.ndarray
    offsets: np.ndarray
    sha256: bytes

    def array(self, index: int) -> np.ndarray:
        """The pixels of one file, ``(H, W, C)`` uint8, read only."""
        return self.pixels[self.offsets[index] : self.offsets[index + 1]].reshape(self.shapes[index])

    def intact(self) -> bool:
        """Whether the pixels have their hash; it reads all of them, which `open_store` does not."""
        digest = hashlib.sha256()
        for start in range(0, len(self.pixels), _CHUNK):
            digest.update(self.pixels[start : start + _CHUNK].data)
        return digest.digest() == self.sha256


def store_path(root: Path, files: Sequence[str], kind: str) -> Path:
    """Where the pixels of some files are kept, named by which files they are; what they held is in the table.

    Args:
        root: Folder of the files.
        files: Relative to it, in order.
        kind: What else the pixels depend on; Pillow's version, whose decoders may differ, always counts.
    """
    text = "\n".join((kind, PIL.__version__, str(root.resolve()), *files))
    name = hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:32]
    return data_root() / "pictures" / f"{name}.store"


def open_store(path: Path, root: Path, files: Sequence[str]) -> Store | None:
    """Open a store, None where there is none to read: checks its length, its table, and every file's size and time.

    Args:
        path: From `store_path`.
        root: Folder of the files.
        files: Relative to it, in order.

    Raises:
        UserError: The store is damaged, or a file is missing or has changed since.
    """
    try:
        with path.open("rb") as stream:
            table, pixels_sha256 = _table(stream, path, len(files))
            pixels = np.memmap(stream, dtype=np.uint8, mode="r", shape=(int(_sizes(table).sum()),))
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return None
    except OSError as error:
        raise UserError(f"{path}: cannot read the cache ({error.strerror or error}); {_REBUILD}") from error
    for file, (size, time) in zip(files, table[:, :2].tolist(), strict=True):
        if _stamp(root, file) != (size, time):
            raise UserError(f"{root / file}: changed since it was cached in {path}; {_REBUILD}")
    return Store(path, pixels, table[:, 2:], np.concatenate([[0], np.cumsum(_sizes(table))]), pixels_sha256)


def _table(stream: BinaryIO, path: Path, count: int) -> tuple[np.ndarray, bytes]:
    """The table and the hash of the pixels; another length than the table says, or a table without its hash, is bad."""
    behind = count * _COLUMNS * 8 + _TAIL.size
    length = stream.seek(0, os.SEEK_END) - behind  # of the pixels
    if length > 0:
        stream.seek(length)
        rows, tail = stream.read(behind - _TAIL.size), stream.read(_TAIL.size)
        magic, number, pixels_sha256, table_sha256 = _TAIL.unpack(tail)
        if (magic, number, table_sha256) == (_MAGIC, count, hashlib.sha256(rows).digest()):
            table = np.frombuffer(rows, dtype="<i8").reshape(count, _COLUMNS)
            if length == _sizes(table).sum():
                return table, pixels_sha256
    raise UserError(f"{path}: damaged cache; {_REBUILD}")


def _sizes(table: np.ndarray) -> np.ndarray:
    """Bytes of the pixels of each row."""
    sizes: np.ndarray = table[:, 2:].prod(axis=1)
    return sizes


def _stamp(root: Path, file: str) -> tuple[int, int]:
    """Size in bytes and modification time in ns, of a year beyond 2262 as another number of 64 bits."""
    try:
        status = (root / file).stat()
    except OSError as error:
        raise UserError(f"{root / file}: {error.strerror}; restore the file or its folder") from error
    return status.st_size, (status.st_mtime_ns + 2**63) % 2**64 - 2**63


def write_store(path: Path, root: Path, files: Sequence[str], read: Callable[[int], np.ndarray]) -> Store:
    """Write a store atomically, read it back and compare its hash.

    Args:
        path: From `store_path`.
        root: Folder of the files.
        files: Relative to it, in order.
        read: Gives the pixels of the file at an index, ``(H, W, C)`` uint8.

    Raises:
        UserError: A file cannot be read, the disk is full, or it returns other pixels; no store is left.
    """

    def write(stream: BinaryIO) -> None:
        rows, digest = np.empty((len(files), _COLUMNS), dtype="<i8"), hashlib.sha256()
        for index, file in enumerate(files):
            stamp = _stamp(root, file)  # before it is read: a change meanwhile is one that `open_store` finds
            pixels_HWC = np.ascontiguousarray(read(index))
            rows[index] = *stamp, *pixels_HWC.shape
            digest.update(pixels_HWC.data)
            stream.write(pixels_HWC.data)
        stream.write(rows.data)
        stream.write(_TAIL.pack(_MAGIC, len(files), digest.digest(), hashlib.sha256(rows.data).digest()))

    atomic_write(path, write)
    try:
        store = open_store(path, root, files)
        if store is None or not store.intact():
            raise UserError(f"{path}: the disk returns other bytes than were written; choose another with CSG_DATA_DIR")
    except UserError:
        path.unlink(missing_ok=True)
        raise
    return store
