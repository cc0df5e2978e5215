"""``csg-analyze gradcam``: GradCAM of the same pictures under several checkpoints."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

import click

from csg_analysis import attention as cams
from csg_analysis import drawing
from csg_analysis.commands.labels import Named, labelled
from csg_analysis.commands.options import (
    device_option,
    explain_option,
    layer_option,
    model_option,
    records_option,
    set_option,
    some_checkpoints,
)
from csg_analysis.commands.output import numbered_pictures, require_own_pictures
from csg_analysis.commands.outside import IMAGES, Outside
from csg_analysis.commands.subject import Asked, Subject, on_same_pictures, require_record_folders
from csg_train import data as pictures
from csg_train import recipes, runs
from csg_train.console import console
from csg_train.errors import UserError
from csg_train.files import require_outside, together
from csg_train.names import absent
from csg_train.splits import SPLITS

if TYPE_CHECKING:
    import numpy as np
    import torch

    _View = tuple[runs.Attended, np.ndarray, str]
    """Of a picture what the record says, the overlay, and why its map is flat."""

__all__ = ["gradcam"]

_ARRAYS = "attention.npz"


@click.command()
@some_checkpoints
@model_option
@click.option(
    "--images", "where", help="A file, a folder or, for checkpoints, a split. [default: target; required with --model]"
)
@records_option
@click.option(
    "--per-class",
    type=click.IntRange(min=1),
    default=2,
    show_default=True,
    help="Pictures per class of a split; without labels or with masks, this number times its classes in all.",
)
@explain_option
@layer_option
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("gradcam"), show_default=True, help="Folder of overlays."
)
@set_option
@device_option
def gradcam(
    checkpoints: tuple[Path, ...],
    models: tuple[str, ...],
    where: str | None,
    records: Path | None,
    per_class: int,
    explain: str,
    layer: str,
    out: Path,
    overrides: tuple[str, ...],
    device: torch.device,
) -> None:
    """GradCAM of the same pictures under each checkpoint: overlays side by side in --out, raw maps in each run."""
    folder = Path(where) if models and where is not None else None
    asked = Asked(checkpoints, models, folder, records, overrides, (), device)
    where = where or "target"
    require_record_folders(checkpoints)
    require_own_pictures(out)
    first: list[tuple[str, np.ndarray]] = []
    found: list[tuple[Named, list[_View]]] = []
    subjects = on_same_pictures(
        asked.subjects(),
        lambda subject: _pictures(subject, where, per_class),
        what="pictures or classes",
        advice="give each its own --out",
    )
    for subject, images in subjects:
        if isinstance(subject, Subject):
            recipes.require_outside_data(out, subject.recipe.data, drawn=True)
        if explain == "label" and isinstance(images, pictures.ImageSet) and not images.labelled:
            raise UserError(f"--explain label: {where} has no labels; use predicted or a class name")
        if isinstance(images, pictures.ImageSet) and not images.labelled and not Path(where).is_file():
            require_outside(out, images.root)
        named = dataclasses.replace(images, classes=subject.classes) if isinstance(subject, Outside) else images
        maps = cams.attend(subject.network, named, subject.shown, layer=layer, explain=explain)
        split = where if checkpoints and where in SPLITS else IMAGES
        data = subject.data_info(images, split)
        arrays = {"maps": maps.maps_NHW, "images": maps.images_NHWC}
        with together(subject.folder) as kept:
            digest = runs.write_arrays(kept / _ARRAYS, arrays)
            record = _attention_record(
                subject.run, data, named, maps, layer=layer, explain=explain, arrays_sha256=digest
            )
            runs.write_record(kept / "attention.json", record)
        pairs = [maps.pair(index) for index in range(len(images))]
        first = first or [(own.label or "picture", pair[0]) for own, pair in zip(record.pictures, pairs, strict=True)]
        views = zip(record.pictures, pairs, maps.flat, strict=True)
        found.append((subject.named, [(own, drawing.overlay(*pair), reason) for own, pair, reason in views]))
    shown = labelled(found)
    with numbered_pictures(out, images.files) as work:
        for index, picture in enumerate(first):
            name, row = f"{index:04d}.png", [picture]
            for label, (own, pixels, reason) in ((label, views[index]) for label, views in shown):
                row.append((f"{label}: {own.predicted}" + (" (flat map)" if own.flat else ""), pixels))
                if own.flat:
                    console.print(f"{name} {label}: flat map of {own.target}, {reason}")
            drawing.side_by_side(work / name, row)
    count = len(checkpoints or models)
    what = ("checkpoint" if checkpoints else "model") + "s" * (count != 1)
    console.print(f"{len(first)} pictures under {count} {what}: {out}")


def _pictures(subject: Subject | Outside, where: str, per_class: int) -> pictures.AnySet:
    if isinstance(subject, Outside):
        return subject.images(IMAGES)
    if where in SPLITS:
        return pictures.pick(subject.images(where), per_class)
    if not Path(where).exists():
        raise UserError(
            f"--images {where}: no such file or folder{absent(Path(where))}, nor a split (source, validation, target)"
        )
    images = pictures.unlabelled(Path(where), subject.checkpoint.classes)
    return dataclasses.replace(images, shorter_side=subject.recipe.data.shorter_side)


def _attention_record(
    run: runs.RunInfo | runs.OutsideInfo,
    data: runs.DataInfo,
    images: pictures.AnySet,
    maps: cams.Maps,
    *,
    layer: str,
    explain: str,
    arrays_sha256: str,
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
        run=run,
        data=data,
        layer=layer,
        explained=explain,
        arrays=_ARRAYS,
        arrays_sha256=arrays_sha256,
        pictures=attended,
    )
