"""``csg-analyze attention``: what GradCAM maps of a whole split are worth, in numbers."""

from collections.abc import Sequence
from pathlib import Path

import click
import torch

from csg_analysis.attention import Scored, attention_scores, scored_pictures
from csg_analysis.commands.options import (
    checkpoints,
    device_option,
    json_option,
    layer_option,
    set_option,
    splits_option,
)
from csg_analysis.commands.output import write_csv
from csg_analysis.commands.subject import measured
from csg_analysis.overlap import CLASS_OVERLAP, OVERLAP
from csg_analysis.removal import area
from csg_train.console import console, print_json, print_table
from csg_train.data.masks import MaskedSet
from csg_train.records import AttentionScores, RunInfo, write_record

__all__ = ["attention"]

_HEADER = ["file", "label", "predicted", "explained", "flat", "iou", "share", "area", "deletion", "insertion", "reason"]


@click.command()
@checkpoints
@splits_option
@click.option(
    "--explain", default="predicted", show_default=True, help="predicted, a class name, or (without masks) label."
)
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
        pictures = list(
            scored_pictures(subject.network, images, subject.recipe, layer=layer, explain=explain, steps=steps)
        )
        run, data = RunInfo.of(subject.checkpoint), subject.data_info(images, split)
        record = attention_scores(
            pictures,
            run=run,
            data=data,
            layer=layer,
            explain=explain,
            steps=steps,
            definition=CLASS_OVERLAP if isinstance(images, MaskedSet) else OVERLAP,
        )
        write_record(subject.folder / f"attention-{split}.json", record)
        write_csv(subject.folder / f"attention-{split}.csv", _HEADER, [_csv_row(picture) for picture in pictures])
        records.append((subject.label, record))
    if as_json:
        print_json([record for _, record in records])
        return
    _print_table(records)


def _csv_row(picture: Scored) -> list[object]:
    own = picture.overlap
    overlaps = ["", "", ""] if own is None else [own.iou, own.share, own.area]
    curves = [
        "" if curve is None else float(area(torch.from_numpy(curve)[None])[0])
        for curve in (picture.deletion, picture.insertion)
    ]
    names = [picture.file, picture.label, picture.predicted, picture.explained]
    return [*names, int(picture.flat), *overlaps, *curves, picture.reason]


def _print_table(records: Sequence[tuple[str, AttentionScores]]) -> None:
    rows = [
        [label, record.data.split, str(record.data.count), str(record.flat), *_overlap(record), *_curves(record)]
        for label, record in records
    ]
    first = records[0][1]
    columns = ["checkpoint", "split", "images", "flat", "masks", "share", "area", "IoU", "deletion", "insertion"]
    print_table(f"attention (GradCAM of {first.layer}, class: {first.explained})", columns, rows)
    for definition in _definitions([record for _, record in records]):
        console.print(definition, highlight=False, markup=False)


def _overlap(record: AttentionScores) -> list[str]:
    own = record.overlap
    if own is None:
        return ["0", "", "", ""]
    return [str(own.count), *(f"{value:.4f}" for value in (own.share, own.area, own.iou))]


def _curves(record: AttentionScores) -> list[str]:
    own = record.curves
    return ["", ""] if own is None else [f"{own.deletion:.4f}", f"{own.insertion:.4f}"]


def _definitions(records: Sequence[AttentionScores]) -> list[str]:
    lines = ["flat: the map is zero everywhere; such a picture counts in no mean, and the CSV file says why"]
    lines += [record.overlap.definition for record in records if record.overlap is not None]
    for curves in (record.curves for record in records if record.curves is not None):
        ends = f"deletion ends at {curves.deletion_baseline}; insertion starts from {curves.insertion_baseline}"
        lines.append(f"{curves.definition}; {curves.steps} steps; {ends}")
    return list(dict.fromkeys(lines))
