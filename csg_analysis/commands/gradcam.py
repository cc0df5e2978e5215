"""``csg-analyze gradcam``: GradCAM of the same pictures under several checkpoints."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from csg_analysis import attention as cams
from csg_analysis import drawing
from csg_analysis.commands.options import checkpoints, device_option, layer_option, set_option
from csg_analysis.commands.subject import Subject, on_same_pictures
from csg_train import data as pictures
from csg_train import runs
from csg_train.console import console
from csg_train.errors import UserError
from csg_train.files import atomic_write, write_text
from csg_train.names import absent
from csg_train.splits import SPLITS

if TYPE_CHECKING:
    import numpy as np
    import torch

__all__ = ["gradcam"]


@click.command()
@checkpoints
@click.option("--images", "where", default="target", show_default=True, help="A file, a folder, or a split.")
@click.option("--per-class", default=2, show_default=True, help="Pictures from a split: so many times its classes.")
@click.option(
    "--explain", default="predicted", show_default=True, help="predicted, a class name, or (without masks) label."
)
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
    import numpy as np

    columns: list[list[tuple[str, np.ndarray]]] = []
    subjects = on_same_pictures(
        checkpoints,
        overrides,
        device,
        lambda subject: pictures.pick(subject.images(where), per_class) if where in SPLITS else _own(where, subject),
        what="pictures or classes",
        advice="give each its own --out",
    )
    for subject, images in subjects:
        if explain == "label" and isinstance(images, pictures.ImageSet) and not images.labelled:
            raise UserError(f"--explain label: {where} has no labels; use predicted or a class name")
        maps = cams.attend(subject.network, images, subject.recipe, layer=layer, explain=explain)
        split = where if where in SPLITS else "images"
        record = _attention_record(subject, images, maps, split=split, layer=layer, explain=explain)
        arrays = {"maps": maps.maps_NHW, "images": maps.images_NHWC}
        atomic_write(subject.folder / record.arrays, lambda stream, a=arrays: np.savez_compressed(stream, **a))  # type: ignore[misc]
        runs.write_record(subject.folder / "attention.json", record)
        captions = [picture.label or "picture" for picture in record.pictures]
        columns = columns or [[(caption, maps.pair(index)[0])] for index, caption in enumerate(captions)]
        for index, (row, picture) in enumerate(zip(columns, record.pictures, strict=True)):
            caption = f"{subject.label}: {picture.predicted}" + (" (flat map)" if picture.flat else "")
            row.append((caption, drawing.overlay(*maps.pair(index))))
            if picture.flat:
                console.print(f"{index:04d}.png {subject.label}: flat map of {picture.target}, {maps.flat[index]}")
    for index, row in enumerate(columns):
        drawing.side_by_side(out / f"{index:04d}.png", row)
    names = [f"{index:04d}.png\t{images.files[index]}" for index in range(len(columns))]
    write_text(out / "index.tsv", "\n".join(names) + "\n")
    console.print(f"{len(columns)} pictures under {len(checkpoints)} checkpoints: {out}", highlight=False)


def _own(where: str, subject: Subject) -> pictures.ImageSet:
    if not Path(where).exists():
        raise UserError(
            f"--images {where}: no such file or folder{absent(Path(where))}, nor a split (source, validation, target)"
        )
    images = pictures.unlabelled(Path(where), subject.checkpoint.classes)
    return dataclasses.replace(images, shorter_side=subject.recipe.data.shorter_side)


def _attention_record(
    subject: Subject, images: pictures.AnySet, maps: cams.Maps, *, split: str, layer: str, explain: str
) -> runs.AttentionRecord:
    names = images.classes
    labels: list[str | None] = [None] * len(images)
    if isinstance(images, pictures.ImageSet) and images.labelled:
        labels = [names[label] for label in images.labels]
    attended = [
        runs.Attended(
            file=file,
            label=label,
            predicted=names[predicted],
            target=names[explained],
            flat=bool(reason),
        )
        for file, label, predicted, explained, reason in zip(
            images.files, labels, maps.predicted, maps.explained, maps.flat, strict=True
        )
    ]
    return runs.AttentionRecord(
        run=runs.run_info(subject.checkpoint),
        data=subject.data_info(images, split),
        layer=layer,
        explained=explain,
        arrays="attention.npz",
        pictures=attended,
    )
