"""``csg-analyze gradcam``: GradCAM of the same pictures under several checkpoints."""

from pathlib import Path

import click
import numpy as np
import torch

from csg_analysis import gradcam as cams
from csg_analysis.commands.options import checkpoints, device_option, layer_option, set_option
from csg_analysis.commands.subject import Subject
from csg_train.console import console
from csg_train.data.domains import SPLITS
from csg_train.data.images import ImageSet
from csg_train.errors import UserError
from csg_train.files import atomic_write, write_text
from csg_train.records import Attended, AttentionRecord, RunInfo, write_record

__all__ = ["gradcam"]


@click.command()
@checkpoints
@click.option("--images", "where", default="target", show_default=True, help="A file, a folder, or a split.")
@click.option("--per-class", default=2, show_default=True, help="Pictures of each class taken from a split.")
@click.option("--explain", default="predicted", show_default=True, help="predicted, label, or a class name.")
@layer_option
@click.option("--out", type=click.Path(path_type=Path), default=Path("gradcam"), show_default=True)
@set_option
@device_option
def gradcam(
    checkpoints: tuple[Path, ...],
    where: str,
    per_class: int,
    explain: str,
    layer: str,
    out: Path,
    overrides: tuple[str, ...],
    device: torch.device,
) -> None:
    """GradCAM of the same pictures under each checkpoint: overlays side by side in --out, raw maps in each run."""
    columns: list[list[tuple[str, np.ndarray]]] = []
    for path in checkpoints:
        subject = Subject.open(path, overrides, device)
        images = cams.pick(subject.labelled(where), per_class) if where in SPLITS else _own(where, subject)
        if explain == "label" and where not in SPLITS:
            raise UserError(f"--explain label: {where} has no labels; use predicted or a class name")
        maps = cams.attend(subject.network, images, subject.recipe, layer=layer, explain=explain)
        split = where if where in SPLITS else "images"
        record = _attention_record(subject, images, maps, split=split, layer=layer, explain=explain)
        arrays = {"maps": maps.maps_NHW, "images": maps.images_NHWC}
        atomic_write(subject.folder / record.arrays, lambda stream, a=arrays: np.savez_compressed(stream, **a))  # type: ignore[misc]
        write_record(subject.folder / "attention.json", record)
        captions = [picture.label or "picture" for picture in record.pictures]
        columns = columns or [[pair] for pair in zip(captions, maps.images_NHWC, strict=True)]
        for row, picture, shown, cam in zip(columns, record.pictures, maps.images_NHWC, maps.maps_NHW, strict=True):
            caption = f"{subject.label}: {picture.predicted}" + (" (flat map)" if picture.flat else "")
            row.append((caption, cams.overlay(shown, cam)))
    for index, row in enumerate(columns):
        cams.side_by_side(out / f"{index:04d}.png", row)
    names = [f"{index:04d}.png\t{images.files[index]}" for index in range(len(columns))]
    write_text(out / "index.tsv", "\n".join(names) + "\n")
    console.print(f"{len(columns)} pictures under {len(checkpoints)} checkpoints: {out}", highlight=False)


def _own(where: str, subject: Subject) -> ImageSet:
    return cams.unlabelled(Path(where), subject.checkpoint.classes)


def _attention_record(
    subject: Subject, images: ImageSet, maps: cams.Maps, *, split: str, layer: str, explain: str
) -> AttentionRecord:
    names = images.classes
    pictures = [
        Attended(
            file=file,
            label=names[label] if split in SPLITS else None,
            predicted=names[predicted],
            target=names[explained],
            flat=not bool(cam.any()),
        )
        for file, label, predicted, explained, cam in zip(
            images.files, images.labels, maps.predicted, maps.explained, maps.maps_NHW, strict=True
        )
    ]
    return AttentionRecord(
        run=RunInfo.of(subject.checkpoint),
        data=subject.data_info(images, split),
        layer=layer,
        explained=explain,
        arrays="attention.npz",
        pictures=pictures,
    )
