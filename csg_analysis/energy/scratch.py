"""Memory beside the features: blocks that are given back when freed, and per-row arrays that lie on disk when long.

The allocator keeps what threads free, by chance up to as much again as is in use; blocks that come from the system
and go back to it do not. They come in huge pages where it has them: the first touch of small ones takes a twentieth of
a product's time. A per-row array of a megabyte or more is a temporary file (in TMPDIR) mapped into memory: the system
writes its pages out when it needs the memory, so that the number of rows is bounded by the disk.

Shape suffixes: N rows.
"""

import contextlib
import math
import mmap
import os
import sys
import tempfile
from collections.abc import Iterator
from typing import IO, Any

import torch
from torch import Tensor

from csg_train.errors import UserError

__all__ = ["block_buffer", "row_array", "spans", "stable_order"]

_LARGE, _LONG = 2**18, 2**20  # bytes of a block and of a per-row array
_FLAGS = getattr(mmap, "MAP_PRIVATE", 0) | getattr(mmap, "MAP_ANONYMOUS", 0)
_OWN: dict[str, Any] = {"flags": _FLAGS} if _FLAGS else {}  # Windows has no flags


def _mapped(memory: mmap.mmap, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    return torch.frombuffer(memory, dtype=dtype, count=math.prod(shape)).view(shape)


def block_buffer(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """A tensor for one block of work, not initialised; on the CPU its memory goes back to the system when freed."""
    size = math.prod(shape) * dtype.itemsize
    if device.type != "cpu" or size < _LARGE:
        return torch.empty(shape, dtype=dtype, device=device)
    memory = mmap.mmap(-1, size, **_OWN)
    if sys.platform == "linux":
        with contextlib.suppress(OSError):  # a kernel that has none
            memory.madvise(mmap.MADV_HUGEPAGE)
    return _mapped(memory, shape, dtype)


def row_array(shape: tuple[int, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    """Zeros, one or more for each row; on the CPU a long array is a temporary file, removed when the array is freed.

    Raises:
        UserError: The folder of temporary files cannot be written or is full.
    """
    size = math.prod(shape) * dtype.itemsize
    if device.type != "cpu" or size < _LONG:
        return torch.zeros(shape, dtype=dtype, device=device)
    try:
        with tempfile.TemporaryFile() as stream:
            _take_space(stream, size)
            return _mapped(mmap.mmap(stream.fileno(), size), shape, dtype)
    except OSError as error:
        raise UserError(
            f"{tempfile.tempdir or 'TMPDIR'}: cannot keep {size} bytes ({error.strerror}); set TMPDIR to a folder that "
            "can be written, on a larger disk"
        ) from error


def _take_space(stream: IO[bytes], size: int) -> None:
    """So that a full disk is an error here, not a fault later."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(stream.fileno(), 0, size)
        return
    for start in range(0, size, _LONG):  # macOS, Windows
        stream.write(bytes(min(_LONG, size - start)))
    stream.flush()


def spans(count: int, step: int = 2**16) -> Iterator[slice]:
    """Slices of ``step`` rows that cover ``count``."""
    for start in range(0, count, step):
        yield slice(start, min(start + step, count))


def stable_order(key_N: Tensor) -> Tensor:
    """What ``key_N.argsort(stable=True)`` gives for finite float64 keys, without memory of that length."""
    if key_N.device.type != "cpu":
        return key_N.argsort(stable=True)
    pair_N2 = row_array((len(key_N), 2), torch.float64, key_N.device)
    pair_N2[:, 0] = key_N
    pair_N2[:, 1] = torch.arange(len(key_N), out=row_array((len(key_N),), torch.float64, key_N.device))
    torch.view_as_complex(pair_N2).numpy().sort()  # in place, by key and then by row
    return row_array((len(key_N),), torch.int64, key_N.device).copy_(pair_N2[:, 1])
