"""Matrices of features that others wrote: ``.npy``, ``.npz`` and ``.safetensors``, a row a picture.

Nothing says which model, layer and pictures they are of, and the records say that it is unknown.

Shape suffixes: N rows, D features.
"""

import functools
import importlib.metadata
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import numpy as np
import safetensors

from csg_analysis.features.files import reason_of
from csg_train.errors import UserError
from csg_train.files import foreign_content, read_hashed
from csg_train.names import absent
from csg_train.runs.records import DataInfo, Dtype, OutsideInfo
from csg_train.tensors import first_bytes

__all__ = ["SUFFIXES", "Matrix", "open_matrix", "split_name"]

SUFFIXES = (".npy", ".npz", ".safetensors")
_DTYPES = get_args(Dtype)
_UNKNOWN = "unknown"


@dataclass(frozen=True)
class Matrix:
    """Rows ``(N, D)`` of floating point, a NumPy array or a tensor, and what a record says of them."""

    rows_ND: Any
    run: OutsideInfo
    data: DataInfo
    dtype: Dtype
    layer: str = _UNKNOWN
    pool: str = _UNKNOWN
    stability: None = None

    @property
    def file_name(self) -> str:
        """The file's name, with the matrix of several, as a name of a file."""
        return self.run.model.replace(":", ".").replace("/", "-")


def split_name(text: str) -> tuple[Path, str | None]:
    """``FILE`` or ``FILE:MATRIX``; a file whose own name holds the colon is that file."""
    path, colon, name = text.rpartition(":")
    return (Path(path), name) if colon and not Path(text).exists() else (Path(text), None)


def open_matrix(path: Path, name: str | None = None) -> Matrix:
    """Open a matrix of a file: a ``.npy`` is mapped into memory, of the others one matrix is read.

    Args:
        path: The file.
        name: Which matrix of it; not needed where there is one.

    Raises:
        UserError: The file is missing, cut or foreign, has several matrices or none of the name.
    """
    if path.is_dir():
        raise UserError(f"{path}: a folder; give a file in it")
    try:
        (chosen, rows_ND), sha256 = read_hashed(path, functools.partial(_read, name=name))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file{absent(path)}; write it with csg-analyze features") from error
    except UserError:
        raise
    except Exception as error:  # of many types for cut and foreign files
        reason = (path.is_file() and foreign_content(path)) or reason_of(error)
        raise UserError(f"{path}: not a complete {path.suffix} file ({reason}); write it again") from error
    dtype: Any = rows_ND.dtype.name if isinstance(rows_ND, np.ndarray) else str(rows_ND.dtype).removeprefix("torch.")
    if rows_ND.ndim != 2 or dtype not in _DTYPES:
        given = f"{chosen or 'the array'} is {tuple(rows_ND.shape)}, {dtype}"
        raise UserError(f"{path}: {given}; give rows of features, (N, D), of {', '.join(_DTYPES)}")
    model = f"{path.name}:{chosen}" if name is not None else path.name
    versions = {package: importlib.metadata.version(package) for package in ("csg-toolkit", "numpy", "torch")}
    return Matrix(
        rows_ND,
        OutsideInfo(model=model, sha256=sha256, versions=versions),
        DataInfo(split=_UNKNOWN, name=model, identity=_UNKNOWN, count=len(rows_ND), size=None, fit=_UNKNOWN),
        dtype,
    )


def _read(path: Path, name: str | None) -> tuple[str, Any]:
    """The name of the chosen matrix of a file, and its rows."""
    start = first_bytes(path)  # a pipe would be waited for
    if path.suffix == ".npz" and not start.startswith(b"PK"):
        raise ValueError("not an archive of NumPy")
    with ExitStack() as stack:
        found = _matrices(path, stack)
        chosen = _choose(path, found, name)
        return chosen, found[chosen]()


def _matrices(path: Path, stack: ExitStack) -> Mapping[str, Callable[[], Any]]:
    """Every array of a file by name, read when it is called; that of a ``.npy`` has none."""
    if path.suffix == ".safetensors":
        tensors = stack.enter_context(safetensors.safe_open(path, framework="pt"))
        return {key: functools.partial(tensors.get_tensor, key) for key in tensors.keys()}  # noqa: SIM118 - no mapping
    if path.suffix not in SUFFIXES:
        raise UserError(f"{path}: features are {', '.join(SUFFIXES)}; save them as one of these")
    if path.suffix == ".npy":
        return {"": functools.partial(np.load, path, mmap_mode="r", allow_pickle=False)}
    stream = stack.enter_context(path.open("rb"))
    arrays = stack.enter_context(np.load(stream, allow_pickle=False))
    return {key: functools.partial(arrays.__getitem__, key) for key in arrays.files}


def _choose(path: Path, found: Mapping[str, object], name: str | None) -> str:
    if name is None and len(found) == 1:
        return next(iter(found))
    if name and name in found:
        return name
    shown = ", ".join(key or "one array without a name" for key in found) or "nothing"
    if name is None:
        raise UserError(f"{path}: holds {shown}; name one, {path}:{next(iter(found), 'NAME')}")
    raise UserError(f"{path}: has no {name!r}; it holds {shown}")
