"""``csg-analyze compare``: checkpoints beside the weights they started from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from csg_analysis import similarity
from csg_analysis.commands.labels import labelled
from csg_analysis.commands.options import (
    device_option,
    images_option,
    json_option,
    layer_option,
    model_option,
    pool_option,
    records_option,
    set_option,
    some_checkpoints,
    splits_option,
)
from csg_analysis.commands.output import warn_unstable
from csg_analysis.commands.outside import Outside
from csg_analysis.commands.subject import Asked, require_record_folders
from csg_train import runs
from csg_train.console import console, print_json, print_table
from csg_train.errors import UserError, within

if TYPE_CHECKING:
    import torch

__all__ = ["compare"]


@click.command()
@some_checkpoints
@model_option
@images_option
@records_option
@splits_option
@layer_option
@pool_option
@set_option
@device_option
@json_option
def compare(
    checkpoints: tuple[Path, ...],
    models: tuple[str, ...],
    folder: Path | None,
    records: Path | None,
    splits: tuple[str, ...],
    layer: str,
    pool: Any,
    overrides: tuple[str, ...],
    device: torch.device,
    as_json: bool,
) -> None:
    """CKA of every stage with the starting weights of the run; alignment, uniformity, effective rank, spread.

    With --model give two or more: the first takes the place of the starting weights.
    """
    if len(models) == 1:
        raise UserError("--model: give two or more; the first is what the others are compared with")
    require_record_folders(checkpoints)
    asked = Asked(checkpoints, models, folder, records, overrides, splits, device)
    found = []
    first: Outside | None = None
    for subject, split in asked.measured("source", "target"):
        if isinstance(subject, Outside) and first is None:
            first = subject
            continue
        images = subject.images(split)
        how: dict[str, Any] = {"data": subject.data_info(images, split), "layer": layer, "pool": pool}
        with within(f"{subject.origin}, {images.name}"):
            if isinstance(subject, Outside):
                assert first is not None
                own, other = (subject.network, subject.shown), (first.network, first.shown)
                record = similarity.beside(own, other, images, run=subject.run, start=first.run.sha256, **how)
            else:
                how["recipe"] = subject.recipe
                record = similarity.similarity_record(subject.checkpoint, subject.network, images, **how)
        runs.write_record(subject.folder / f"similarity-{split}.json", record)
        found.append((subject.named, record))
    if as_json:
        print_json([record for _, record in found])
        return
    _print_table(labelled(found), "starting weights" if first is None else first.label)


def _print_table(records: Sequence[tuple[str, runs.SimilarityRecord]], other: str) -> None:
    stages = list(dict.fromkeys(stage for _, record in records for stage in record.cka))
    names = [name for name in similarity.METRICS if any(name in record.measures for _, record in records)]
    first = records[0][1]
    rows, starts = [], set()
    for label, record in records:
        start = (record.start, record.data.identity, record.data.split)
        if start not in starts:
            starts.add(start)
            rows.append(_row(other, record, stages, {}, names, record.start_measures))
        rows.append(_row(label, record, stages, record.cka, names, record.measures))
    columns = ["checkpoint", "split", "images", *(f"CKA {stage}" for stage in stages), *names]
    against = "the starting weights" if other == "starting weights" else other
    print_table(f"against {against}; {first.pool} pool, measures of {first.layer}", columns, rows)
    definitions = {name: text for _, record in records for name, text in record.definitions.items()}
    for name, definition in definitions.items():
        console.print(f"{name}: {definition}")
    for label, record in records:
        warn_unstable(f"{label} {record.data.split}", record.stability, record.data.count)
        if left := [name for name in similarity.METRICS if name not in record.definitions]:
            console.print(
                f"{label} {record.data.split}: {', '.join(left)} left out; the pictures have masks, no labels, or are "
                "one a class"
            )
        if isinstance(record.run, runs.RunInfo) and record.start != record.run.weights:
            console.print(f"{label}: trained from {record.run.weights[:12]}, compared with {record.start[:12]}")


def _row(
    label: str,
    record: runs.SimilarityRecord,
    stages: Sequence[str],
    cka: Mapping[str, float],
    names: Sequence[str],
    measures: Mapping[str, float],
) -> list[str]:
    similar = [f"{cka[stage]:.4f}" if stage in cka else "" for stage in stages]
    measured = [f"{measures[name]:.4f}" if name in measures else "" for name in names]
    return [label, record.data.split, str(record.data.count), *similar, *measured]
