"""Whether the records along a run are of this run, of their folder's step, and measured alike."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from csg_train.errors import UserError
from csg_train.runs.records import AccuracyRecord, EnergyRecord, Record, SegmentationRecord, trained

__all__ = ["check_snapshots"]

_OF_THE_RUN = ("recipe", "method", "method_config", "seed", "backbone", "weights", "source", "source_identity")


def check_snapshots(own: Mapping[Path, Record], snapshots: Mapping[int, Mapping[Path, Record]]) -> None:
    """Compare the records of a run's snapshots with the run's own, and with each other.

    Args:
        own: Records of the run, at least one, by path.
        snapshots: Records of its snapshots, by step and path.

    Raises:
        UserError: One is of another run or step, or was measured otherwise than another of its kind and split.
    """
    first_path, first_record = next(iter(own.items()))
    info = trained(first_record, first_path)
    for step, records in snapshots.items():
        for path, record in records.items():
            other_info = trained(record, path)
            differing = [name for name in _OF_THE_RUN if getattr(other_info, name) != getattr(info, name)]
            if differing:
                raise UserError(f"{path}: of another run, its {differing[0]} differs; remove it or measure it again")
            if other_info.step != step:
                raise UserError(f"{path}: of step {other_info.step}; remove it or measure it again (csg-analyze)")
    first: dict[tuple[str, str], tuple[Path, dict[str, object]]] = {}
    for records in (own, *snapshots.values()):
        for path, record in records.items():
            found = dict(_how(record))
            other, expected = first.setdefault((record.kind, record.data.split), (path, found))
            for name, value in found.items():
                if value != expected[name]:
                    difference = f"{name} {_shown(value)}, not {_shown(expected[name])}"
                    raise UserError(
                        f"{path}: measured otherwise than {other} ({difference}); measure both alike (csg-analyze)"
                    )


def _how(record: Record) -> Iterator[tuple[str, object]]:
    """What two records of one kind and split must share to stand in one curve."""
    yield from record.data.model_dump().items()
    if isinstance(record, EnergyRecord):
        for name in ("layer", "pool", "dim", "dtype", "coincident_rule"):
            yield name, getattr(record, name)
    if isinstance(record, AccuracyRecord):
        yield "flip", record.flip
    if isinstance(record, AccuracyRecord | SegmentationRecord):
        yield "classes", record.classes


def _shown(value: object) -> str:
    text = str(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
