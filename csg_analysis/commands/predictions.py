"""``csg-analyze predictions``: what checkpoints of segmentation predict, picture by picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from csg_analysis import drawing
from csg_analysis.commands.labels import Named, labelled
from csg_analysis.commands.options import checkpoints, device_option, set_option
from csg_analysis.commands.output import numbered_pictures, require_own_pictures
from csg_analysis.commands.subject import Subject, on_same_pictures, require_record_folders
from csg_train import data as pictures
from csg_train import evaluate, recipes, runs
from csg_train.console import console
from csg_train.data import check
from csg_train.files import together
from csg_train.splits import SPLITS

if TYPE_CHECKING:
    import numpy as np
    import torch

__all__ = ["predictions"]


@click.command()
@checkpoints
@click.option(
    "--images", "split", type=click.Choice(SPLITS), default="target", show_default=True, help="Split to sample from."
)
@click.option("--per-split", "number", type=click.IntRange(min=1), default=8, show_default=True, help="How many.")
@click.option(
    "--out", type=click.Path(path_type=Path), default=Path("predictions"), show_default=True, help="Folder to write."
)
@set_option
@device_option
def predictions(
    checkpoints: tuple[Path, ...],
    split: str,
    number: int,
    out: Path,
    overrides: tuple[str, ...],
    device: torch.device,
) -> None:
    """Draw the masks that segmentation checkpoints predict for the same pictures, next to the true mask.

    The pictures are sampled with a fixed seed. Below each mask, pixels that differ from the true one are red. Small
    copies are kept in each checkpoint's folder, for the report.
    """
    require_record_folders(checkpoints)
    require_own_pictures(out)
    found: list[tuple[Named, list[np.ndarray]]] = []
    subjects = on_same_pictures(
        (Subject.open(path, overrides, device) for path in checkpoints),
        lambda subject: pictures.sample(subject.masked(split), number),
        what=f"pictures in split {split}",
        advice="show them in two folders",
    )
    for subject, images in subjects:
        recipes.require_outside_data(out, subject.recipe.data, drawn=True)
        masks = evaluate.network_masks(subject.network, images, subject.recipe)
        predicted = [mask_HW.cpu().numpy() for mask_HW, _ in masks]
        _keep(subject, split, images, predicted)
        found.append((subject.named, predicted))
    columns = labelled(found)
    with numbered_pictures(out, images.files) as work:
        for index in range(len(images)):
            _write(work / f"{index:04d}.png", images, index, [(label, masks[index]) for label, masks in columns])
    count = len(checkpoints)
    console.print(f"{len(images)} pictures under {count} checkpoint{'s' * (count != 1)}: {out}")


def _keep(subject: Subject, split: str, images: pictures.MaskedSet, predicted: Sequence[np.ndarray]) -> None:
    """Write the record of one checkpoint and its arrays, both or neither."""
    import numpy as np

    file = f"predictions-{split}.npz"
    arrays, shown = dict[str, np.ndarray](), list[runs.PredictedPicture]()
    for index, mask_HW in enumerate(predicted):
        picture, true_HW = pictures.picture_and_mask(images, index)
        share = drawing.share_differing(true_HW, mask_HW, unknown=pictures.IGNORE)
        shown.append(runs.PredictedPicture(file=images.files[index], differs=share))
        for name, own in (("picture", np.asarray(picture)), ("true", true_HW), ("predicted", mask_HW)):
            arrays[f"{name}_{index}"] = drawing.reduced(own, runs.PREDICTIONS_SIDE)
    with together(subject.folder) as kept:
        record = runs.PredictionsRecord(
            run=subject.run,
            data=subject.data_info(images, split),
            classes=list(images.classes),
            colours=list(check.class_colours(images.classes)),
            unknown=pictures.IGNORE,
            arrays=file,
            arrays_sha256=runs.write_arrays(kept / file, arrays),
            pictures=shown,
        )
        runs.write_record(kept / f"predictions-{split}.json", record)


def _write(path: Path, images: pictures.MaskedSet, index: int, predicted: Sequence[tuple[str, np.ndarray]]) -> None:
    import numpy as np

    picture, true_HW = pictures.picture_and_mask(images, index)
    pixels_HW3 = np.asarray(picture)
    masks = [("true mask", true_HW), *predicted]
    colours = check.class_colours(images.classes)
    drawn = [
        (caption, drawing.mask_overlay(pixels_HW3, mask_HW, colours, unknown=pictures.IGNORE))
        for caption, mask_HW in masks
    ]
    present = sorted({int(label) for _, mask_HW in masks for label in np.unique(mask_HW)} - {pictures.IGNORE})
    legend = [(images.classes[label], colours[label]) for label in present]
    wrong = [
        (
            drawing.differing_text(drawing.share_differing(true_HW, mask_HW, unknown=pictures.IGNORE)),
            drawing.differs(pixels_HW3, true_HW, mask_HW, unknown=pictures.IGNORE),
        )
        for _, mask_HW in predicted
    ]
    drawing.side_by_side(path, [("picture", pixels_HW3), *drawn], legend, [None, None, *wrong])
