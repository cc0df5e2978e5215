"""Features on disk: ``.npy`` files that are written in chunks and read as memory maps, with their definition beside.

A folder holds ``RUN-LAYER.npy`` for each checkpoint and layer, ``RUN.csv`` (row, file, label; without label where
pictures have masks or none) for each checkpoint, and ``features.json``, which says what every file is. The folder
appears under its name when all of it is complete.

Shape suffixes: N rows, B rows of a chunk, D features.
"""

import os
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from csg_train.data.readers.masks import MaskedSet
from csg_train.data.readers.sets import AnySet
from csg_train.errors import UserError
from csg_train.files import read_hashed, sha256_file, write_csv, write_json
from csg_train.runs.records import DataInfo, OutsideInfo, PoolStability, RunInfo
from csg_train.tensors import first_bytes

__all__ = ["DEFINITION", "Definitions", "Dtype", "FeatureFile", "open_features", "reason_of", "write_rows"]

DEFINITION = "features.json"

Dtype = Literal["float32", "float16"]


class FeatureFile(BaseModel):
    """What one ``.npy`` file holds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    run: RunInfo | OutsideInfo
    data: DataInfo
    layer: str
    pool: str
    dtype: Dtype
    """``float16`` keeps 11 significant bits of each number: every figure from it is of features so rounded."""
    count: int
    dim: int
    stability: PoolStability | None = None
    """Of the attention pool; none of another, and none in earlier files."""
    index: str
    """The CSV file that names the picture of each row, and its class where it has a label."""
    index_sha256: str
    sha256: str | None = None
    """Of the file itself; none in earlier files."""


class Definitions(BaseModel):
    """The content of ``features.json``: every feature file of the folder by name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: Literal["csg-features/1"] = "csg-features/1"
    files: dict[str, FeatureFile]

    def write(self, folder: Path) -> None:
        """Write ``features.json``."""
        write_json(folder / DEFINITION, self.model_dump(mode="json"))


def reason_of(error: Exception) -> str:
    """What numpy says of a file that it cannot read; not its advice to switch the safety off."""
    text = str(error).split("\n", 1)[0]
    return "it holds pickled objects, which are not read" if "pickle" in text else text


def write_rows(
    folder: Path,
    run: str,
    images: AnySet,
    widths: Mapping[str, int],
    batches: Iterable[Mapping[str, np.ndarray]],
    *,
    dtype: Dtype,
) -> str:
    """Write ``RUN-LAYER.npy`` of every layer, batch by batch, and ``RUN.csv``; no more than a batch is in memory.

    Args:
        folder: Existing.
        run: Start of the file names.
        images: Names and classes of the rows.
        widths: Features of each layer.
        batches: Rows ``(B, D)`` by layer, in the order of ``images.files``.
        dtype: Of the files.

    Returns:
        The SHA-256 of ``RUN.csv``.

    Raises:
        UserError: A number of rows other than that of pictures, or a value beyond half precision.
    """
    index = folder / f"{run}.csv"
    _write_index(index, images)
    with ExitStack() as stack:
        streams = {layer: stack.enter_context((folder / f"{run}-{layer}.npy").open("wb")) for layer in widths}
        for layer, stream in streams.items():
            _header(stream, (len(images), widths[layer]), dtype)
        rows = 0
        for batch in batches:
            for layer, stream in streams.items():
                stream.write(_converted(batch[layer], dtype, f"{layer} of {images.path(rows)} and the pictures after"))
            rows += len(next(iter(batch.values())))
        for stream in streams.values():
            stream.flush()
            os.fsync(stream.fileno())
    if rows != len(images):
        raise UserError(f"{run}: {rows} feature rows for {len(images)} pictures of {images.name}; extract them again")
    return sha256_file(index)


def _write_index(path: Path, images: AnySet) -> None:
    if isinstance(images, MaskedSet) or not images.labelled:
        write_csv(path, ["row", "file"], list(enumerate(images.files)))
    else:
        names = [images.classes[label] for label in images.labels]
        write_csv(path, ["row", "file", "label"], list(zip(range(len(images)), images.files, names, strict=True)))


def _header(stream: BinaryIO, shape: tuple[int, int], dtype: Dtype) -> None:
    kind = np.lib.format.dtype_to_descr(np.dtype(dtype))
    np.lib.format.write_array_header_1_0(stream, {"descr": kind, "fortran_order": False, "shape": shape})


def _converted(rows_BD: np.ndarray, dtype: Dtype, where: str) -> bytes:
    with np.errstate(over="ignore"):
        kept_BD = rows_BD.astype(dtype)
    if not np.array_equal(np.isfinite(kept_BD), np.isfinite(rows_BD)):
        raise UserError(f"--half: a feature in {where} is beyond 65504, the largest float16; leave --half out")
    return kept_BD.tobytes()


def _mapped(path: Path) -> Any:
    first_bytes(path)  # a pipe would be waited for
    return np.load(path, mmap_mode="r", allow_pickle=False)


def open_features(path: Path) -> tuple[np.ndarray, FeatureFile]:
    """A feature file as a memory map ``(N, D)``, with its definition.

    Raises:
        UserError: The file or its definition is missing, cut or foreign, or they do not agree.
    """
    try:
        rows_ND, sha256 = read_hashed(path, _mapped)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file; write it with csg-analyze features") from error
    except (OSError, ValueError, EOFError) as error:
        raise UserError(
            f"{path}: not a complete .npy file ({reason_of(error)}); write it with csg-analyze features"
        ) from error
    definition = path.parent / DEFINITION
    try:
        known = Definitions.model_validate_json(definition.read_bytes()).files
    except OSError as error:
        raise UserError(f"{definition}: {error.strerror}; write both with csg-analyze features") from error
    except ValidationError as error:
        raise UserError(f"{definition}: not a csg-features/1; write it with csg-analyze features") from error
    if path.name not in known:
        raise UserError(f"{definition}: does not name {path.name}; it names {', '.join(known)}")
    own = known[path.name]
    if not isinstance(rows_ND, np.ndarray) or (rows_ND.shape, rows_ND.dtype) != ((own.count, own.dim), own.dtype):
        raise UserError(f"{path}: not the {own.count} x {own.dim} {own.dtype} of {DEFINITION}; write both again")
    if own.sha256 is not None and sha256 != own.sha256:
        raise UserError(f"{path}: changed since {DEFINITION} was written; write both again")
    index = path.parent / own.index
    if not index.is_file() or sha256_file(index) != own.index_sha256:
        raise UserError(f"{index}: missing or changed since {path.name} was written; write both again")
    return rows_ND, own
