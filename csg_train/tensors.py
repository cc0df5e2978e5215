"""Reading files of tensors that others wrote: tensors and plain values, whole, and nothing that runs."""

import re
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from csg_train.errors import UserError, memory_fault
from csg_train.files import foreign_content, is_safetensors
from csg_train.names import unfit

__all__ = ["first_bytes", "first_not_finite", "fits", "load_tensors", "machine_fault", "unreadable"]

_NUMBERS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def load_tensors(path: Path) -> Any:
    """What ``torch.save`` wrote of tensors and plain values, or the tensors of a safetensors file, to the CPU.

    The archive of a file is checked before: torch compares no checksum, so a flipped bit becomes another weight, and it
    unpacks compressed entries of any size.

    Raises:
        FileNotFoundError: No such file.
        Exception: Of many types, where the file is cut, damaged or foreign, or holds more than plain values;
            `unreadable` says which.
    """
    start = first_bytes(path)
    if is_safetensors(start):
        return load_file(path)
    if start.startswith(b"PK\x03\x04"):  # else of torch before 1.6, without checksums
        _check(path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of foreign pickles and TorchScript, before it refuses them
        content = torch.load(path, map_location="cpu", weights_only=True)
    _require_dense(content, most=path.stat().st_size)
    return content


def first_not_finite(state: Mapping[str, Tensor]) -> str | None:
    """Name of the first tensor of a state dict that has a NaN or infinite value; None where all are finite."""
    numbers = {name: value for name, value in state.items() if value.is_floating_point()}
    finite = torch.stack([value.isfinite().all() for value in numbers.values()]).tolist()
    return None if all(finite) else list(numbers)[finite.index(False)]


def fits(given: Tensor, own: Tensor) -> bool:
    """Whether a value can take the place of ours: of its shape, of numbers where ours is of numbers, else whole ones.

    Integers in the place of numbers are those of a quantised network, whose scales are elsewhere.
    """
    if given.shape != own.shape or own.is_complex() != given.is_complex():
        return False
    if own.is_floating_point():
        return given.dtype in _NUMBERS
    return not given.is_floating_point() or (given.dtype in _NUMBERS and bool((given == given.round()).all()))


def first_bytes(path: Path) -> bytes:
    """The first 16 bytes of a file, which tell its kind.

    Raises:
        ValueError: It is none that can be read twice; a pipe would be waited for.
    """
    if path.exists() and not path.is_file():
        raise ValueError("not a regular file")
    with path.open("rb") as stream:
        return stream.read(16)


def machine_fault(path: Path, error: Exception) -> UserError | None:
    """What to raise where memory or the disk gave out while a file was read, and the file may be whole; else None."""
    if isinstance(error, OSError) and error.errno and not path.is_dir():
        fix = "make it readable" if isinstance(error, PermissionError) else "fix the disk or its server, and try again"
        return UserError(f"{path}: {error.strerror}; {fix}")
    return memory_fault(error, f"{path}: ")


def unreadable(path: Path, error: Exception) -> str:
    """What a file is that `load_tensors` refused with ``error``, and the way out.

    Nothing of torch's own text is passed on where it advises to switch the safety off.
    """
    text = str(error)
    if path.is_dir():
        return "a folder; give a file"
    if not path.is_file():
        return "not a regular file; give one"
    if isinstance(error, SafetensorError) and (fault := unfit(str(path))):
        return f"its name {fault}, and safetensors opens no such file; rename it"
    if isinstance(error, _NotDenseError):
        return f"{text}; save dense tensors of plain numbers"
    if isinstance(error, SafetensorError):
        return f"a safetensors file that is cut or damaged ({text}); fetch it again"
    if found := re.search(r"GLOBAL (\S+)", text):
        return (
            f"refused: beside tensors and plain values it holds a pickled object ({found[1]}), which runs code as it "
            "is opened; nothing of it was run; save its state dict alone where you trust it"
        )
    if foreign := foreign_content(path):
        return foreign
    if program := _program(path):
        return f"{program}, which is code; save the state dict of its model instead"
    if "weights_only" in text or not first_bytes(path).startswith((b"PK\x03\x04", b"\x80")):
        return "not a torch file, and no safetensors; check which file it is"
    return f"not a complete torch file ({_first_line(text)}); fetch it again"


def _program(path: Path) -> str | None:
    """What kind of program an archive holds; None where it is none, or damaged, of which zipfile raises many errors."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.partition("/")[2] for name in archive.namelist()]
    except Exception:
        return None
    if "constants.pkl" in names:
        return "a TorchScript archive"
    return "a program of torch.export" if "archive_format" in names else None


class _NotDenseError(ValueError):
    """A tensor of a kind that no weight is."""


def _require_dense(content: Any, *, most: int, name: str = "its content", seen: set[int] | None = None) -> None:
    """Refuse tensors that no network takes, however deep they lie: even a look at their shape or values may fail.

    A tensor of more than ``most`` bytes, the file's, repeats a few values, and fills the memory where it is copied.
    What is shared is looked at once (``seen``): a few bytes can lead to one value in 2^60 ways.
    """
    seen = set() if seen is None else seen
    if id(content) in seen:
        return
    seen.add(id(content))
    if isinstance(content, Tensor):
        is_strided = not content.is_nested and content.layout == torch.strided
        kinds = {
            "a nested tensor": content.is_nested,
            "a sparse tensor": not is_strided,
            "a meta tensor, without values": content.is_meta,
            "a tensor larger than the file, few values repeated": is_strided and content.nbytes > most,
        }
        if found := next((kind for kind, is_so in kinds.items() if is_so), None):
            raise _NotDenseError(f"{name} is {found}")
    elif isinstance(content, Mapping):
        for key, value in content.items():
            _require_dense(value, most=most, name=str(key), seen=seen)
    elif isinstance(content, list | tuple):
        for value in content:
            _require_dense(value, most=most, name=name, seen=seen)


def _first_line(text: str) -> str:
    return text.split("\n", 1)[0].split(". ", 1)[0][:120]


def _check(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise ValueError("compressed, which torch.save never does")
        if sum(entry.file_size for entry in entries) > path.stat().st_size:
            raise ValueError("entries larger than the file")
        if (damaged := archive.testzip()) is not None:
            raise ValueError(f"the checksum of {damaged} differs")
