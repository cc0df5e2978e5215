"""Reading the records of ``csg-analyze attention``, ``compare`` and ``sphere``."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from csg_analysis.sphere_record import SphereRecord
from csg_train.errors import UserError
from csg_train.records import AttentionScores, SimilarityRecord

__all__ = ["MEASURES", "Measure", "read_measure"]

MEASURES = ("attention-*.json", "similarity-*.json", "sphere-*.json")

Measure = AttentionScores | SimilarityRecord | SphereRecord
_ADAPTER: TypeAdapter[Measure] = TypeAdapter(Annotated[Measure, Field(discriminator="kind")])


def read_measure(path: Path) -> Measure:
    """Read one of these records.

    Raises:
        UserError: The file is unreadable or not such a record.
    """
    try:
        return _ADAPTER.validate_json(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise UserError(
            f"{path}: not a csg-record/1 ({where}: {first['msg']}); measure again with csg-analyze"
        ) from error
