"""Reading files of tensors that others wrote: tensors and plain values, whole, and nothing that runs."""

import zipfile
from pathlib import Path
from typing import Any

import safetensors.torch
import torch

__all__ = ["load_tensors"]


def load_tensors(path: Path) -> Any:
    """``torch.load`` of tensors and plain values to the CPU; a safetensors file is known by its first bytes.

    The archive of a torch file is checked before: torch compares no checksum, so a flipped bit becomes another weight,
    and it unpacks compressed entries of any size.

    Raises:
        FileNotFoundError: No such file.
        Exception: Of many types, where the file is cut, damaged or foreign, or holds more than plain values.
    """
    with path.open("rb") as stream:
        start = stream.read(9)
    if start[8:] == b"{":
        return safetensors.torch.load_file(path)
    if start.startswith(b"PK\x03\x04"):  # else of torch before 1.6, without checksums
        _check(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def _check(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
            raise ValueError("compressed, which torch.save never does")
        if sum(entry.file_size for entry in entries) > path.stat().st_size:
            raise ValueError("entries larger than the file")
        if (damaged := archive.testzip()) is not None:
            raise ValueError(f"the checksum of {damaged} differs")
