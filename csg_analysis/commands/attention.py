"""``csg-analyze attention``: what GradCAM maps of a whole split are worth, in numbers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from csg_analysis import attention as attending
from csg_analysis.commands.labels import labelled
from csg_analysis.commands.options import (
    checkpoints,
    device_option,
    explain_option,
    json_option,
    layer_option,
    set_option,
    splits_option,
)
from csg_analysis.commands.subject import measured
from csg_train import data as pictures
from csg_train import runs
from csg_train.console import console, print_json, print_table
from csg_train.files import together, write_csv

if TYPE_CHECKING:
    import torch

__all__ = ["attention"]

_HEADER = ["file", "label", "predicted", "explained", "flat", "iou", "share", "area", "deletion", "insertion", "reason"]


@click.command()
@checkpoints
@splits_option
@explain_option
@layer_option
@click.option(
    "--curves",
    "steps",
    type=click.IntRange(min=1),
    metavar="STEPS",
    help="Also deletion and insertion: 2 (STEPS + 1) forward passes a picture. 20 is enough.",
)
@set_option
@device_option
@json_option
def attention(
    checkpoints: tuple[Path, ...],
    splits: tuple[str, ...],
    explain: str,
    layer: str,
    steps: int | None,
    overrides: tuple[str, ...],
    device: torch.device,
    as_json: bool,
) -> None:
    """GradCAM over whole splits: how much attention lies on the object or class; deletion and insertion curves."""
    records = []
    for subject, split in measured(checkpoints, splits, overrides, device):
        images = subject.images(split)
        scored = list(
            attending.scored_pictures(
                subject.network, images, subject.recipe, layer=layer, explain=explain, steps=steps
            )
        )
        run, data = runs.run_info(subject.checkpoint), subject.data_info(images, split)
        record = attending.attention_scores(
            scored,
            run=run,
            data=data,
            layer=layer,
            explain=explain,
            steps=steps,
            definition=attending.CLASS_OVERLAP if isinstance(images, pictures.MaskedSet) else attending.OVERLAP,
        )
        with together(subject.folder) as kept:
            write_csv(kept / f"attention-{split}.csv", _HEADER, [_csv_row(picture) for picture in scored])
            runs.write_record(kept / f"attention-{split}.json", record)
        records.append((subject.named, record))
    if as_json:
        print_json([record for _, record in records])
        return
    _print_table(labelled(records))


def _csv_row(picture: attending.Scored) -> list[object]:
    own = picture.overlap
    overlaps = ["", "", ""] if own is None else [own.iou, own.share, own.area]
    curves = ["" if area is None else area for area in (picture.deletion_area, picture.insertion_area)]
    names = [picture.file, picture.label, picture.predicted, picture.explained]
    return [*names, int(picture.flat), *overlaps, *curves, picture.reason]


def _print_table(records: Sequence[tuple[str, runs.AttentionScores]]) -> None:
    rows = [
        [label, record.data.split, str(record.data.count), str(record.flat), *_overlap(record), *_curves(record)]
        for label, record in records
    ]
    first = records[0][1]
    columns = ["checkpoint", "split", "images", "flat", "masks", "share", "area", "IoU", "deletion", "insertion"]
    print_table(f"attention (GradCAM of {first.layer}, class: {first.explained})", columns, rows)
    for definition in _definitions([record for _, record in records]):
        console.print(definition)


def _overlap(record: runs.AttentionScores) -> list[str]:
    own = record.overlap
    if own is None:
        return ["0", "", "", ""]
    return [str(own.count), *(f"{value:.4f}" for value in (own.share, own.area, own.iou))]


def _curves(record: runs.AttentionScores) -> list[str]:
    own = record.curves
    return ["", ""] if own is None else [f"{own.deletion:.4f}", f"{own.insertion:.4f}"]


def _definitions(records: Sequence[runs.AttentionScores]) -> list[str]:
    lines = ["flat: the map is zero everywhere; such a picture counts in no mean, and the CSV file says why"]
    lines += [record.overlap.definition for record in records if record.overlap is not None]
    for curves in (record.curves for record in records if record.curves is not None):
        ends = f"deletion ends at {curves.deletion_baseline}; insertion starts from {curves.insertion_baseline}"
        lines.append(f"{curves.definition}; {curves.steps} steps; {ends}")
    return list(dict.fromkeys(lines))
