"""Records of any kind, read and written."""

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field, TypeAdapter, ValidationError

from csg_train.errors import UserError
from csg_train.files import atomic_write, together, write_csv, write_json
from csg_train.runs.records.attention import AttentionRecord, AttentionScores
from csg_train.runs.records.choosing import ChoosingRecord
from csg_train.runs.records.features import EnergyRecord, SimilarityRecord, SphereRecord
from csg_train.runs.records.parts import BaseRecord, OutsideInfo, RunInfo
from csg_train.runs.records.predictions import PredictionsRecord
from csg_train.runs.records.scores import AccuracyRecord, ScoreRecord, SegmentationRecord, UnlabelledRecord
from csg_train.runs.versions import written_by
from csg_train.splits import SCORES

__all__ = ["Record", "read_record", "trained", "write_arrays", "write_record", "write_score"]

Record = (
    EnergyRecord
    | AccuracyRecord
    | SegmentationRecord
    | AttentionRecord
    | PredictionsRecord
    | AttentionScores
    | SimilarityRecord
    | SphereRecord
    | UnlabelledRecord
    | ChoosingRecord
)


_ADAPTER: TypeAdapter[Record] = TypeAdapter(Annotated[Record, Field(discriminator="kind")])


def trained(record: Record, path: Path) -> RunInfo:
    """The run that a record is of; ``path`` names it in the error.

    Raises:
        UserError: It is of a model that the toolkit did not train.
    """
    if isinstance(record.run, OutsideInfo):
        raise UserError(
            f"{path}: a record of --model {record.run.model}, and a report shows training runs only; give run folders"
        )
    return record.run


def write_record(path: Path, record: BaseRecord) -> None:
    """Write a record atomically as JSON with sorted keys."""
    write_json(path, record.model_dump(mode="json"))


def write_arrays(path: Path, arrays: Mapping[str, np.ndarray]) -> str:
    """Write the arrays that lie beside a record atomically, as ``.npz``; gives their SHA-256."""
    stream = io.BytesIO()
    np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]
    atomic_write(path, lambda file: file.write(stream.getvalue()))
    return hashlib.sha256(stream.getvalue()).hexdigest()


def write_score(folder: Path, record: ScoreRecord | UnlabelledRecord) -> None:
    """Write what a checkpoint is worth on a split, and its confusion matrix as CSV, in the place of what was there.

    A target that got its labels later is unknown no more, and a table of an earlier step would contradict the record.
    """
    split = record.data.split
    table = f"confusion-{split}.csv"
    with together(folder) as kept:
        if not isinstance(record, UnlabelledRecord):
            confusion = [[name, *row] for name, row in zip(record.classes, record.confusion, strict=True)]
            write_csv(kept / table, ["true \\ predicted", *record.classes], confusion)
        write_record(kept / f"{record.kind}-{split}.json", record)
    if isinstance(record, UnlabelledRecord):
        (folder / table).unlink(missing_ok=True)
    for kind in SCORES:
        if kind != record.kind:
            (folder / f"{kind}-{split}.json").unlink(missing_ok=True)


def read_record(path: Path) -> Record:
    """Read a record of any kind.

    Raises:
        UserError: The file is unreadable or not a record of this format.
    """
    try:
        return _ADAPTER.validate_json(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); restore it or measure again") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = f"{'.'.join(map(str, first['loc']))}: ".removeprefix(": ")
        raise UserError(
            f"{path}: not a csg-record/1 ({where}{first['msg']}); measure again with csg-analyze{_written_by(path)}"
        ) from error


def _written_by(path: Path) -> str:
    try:
        return written_by(json.loads(path.read_bytes())["run"]["versions"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return ""
