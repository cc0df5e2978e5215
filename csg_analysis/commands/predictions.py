"""``csg-analyze predictions``: what checkpoints of segmentation predict, picture by picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from csg_analysis import drawing
from csg_analysis.commands.options import checkpoints, device_option, set_option
from csg_analysis.commands.subject import Subject, on_same_pictures
from csg_train import data as pictures
from csg_train import evaluate
from csg_train.console import console
from csg_train.data import check
from csg_train.files import write_text
from csg_train.splits import SPLITS

if TYPE_CHECKING:
    import numpy as np
    import torch
    from PIL import Image

__all__ = ["predictions"]

_STRENGTH = 0.65
_WRONG = (200, 20, 40)


@click.command()
@checkpoints
@click.option("--images", "split", type=click.Choice(SPLITS), default="target", show_default=True)
@click.option("--per-split", "number", type=click.IntRange(min=1), default=8, show_default=True, help="Pictures.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("predictions"), show_default=True)
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
    """Masks of the same pictures under each checkpoint of segmentation, beside the true mask, drawn without a look.

    Below each, in red, the pixels where it differs from the truth.
    """
    columns: list[tuple[str, list[np.ndarray]]] = []
    subjects = on_same_pictures(
        (Subject.open(path, overrides, device) for path in checkpoints),
        lambda subject: pictures.sample(subject.masked(split), number),
        what=f"pictures in split {split}",
        advice="show them in two folders",
    )
    for subject, images in subjects:
        masks = evaluate.network_masks(subject.network, images, subject.recipe)
        predicted = [mask_HW.cpu().numpy() for mask_HW, _ in masks]
        columns.append((subject.label, predicted))
    for index in range(len(images)):
        _write(out / f"{index:04d}.png", images, index, [(label, masks[index]) for label, masks in columns])
    names = [f"{index:04d}.png\t{file}" for index, file in enumerate(images.files)]
    write_text(out / "index.tsv", "\n".join(names) + "\n")
    console.print(f"{len(images)} pictures under {len(checkpoints)} checkpoints: {out}", highlight=False)


def _write(path: Path, images: pictures.MaskedSet, index: int, predicted: list[tuple[str, np.ndarray]]) -> None:
    import numpy as np

    picture, true_HW = pictures.picture_and_mask(images, index)
    masks = [("true mask", true_HW), *predicted]
    colours = check.class_colours(images.classes)
    drawn = [
        (caption, np.asarray(check.overlay(picture, mask_HW, colours, strength=_STRENGTH)))
        for caption, mask_HW in masks
    ]
    present = sorted({int(label) for _, mask_HW in masks for label in np.unique(mask_HW)} - {pictures.IGNORE})
    legend = [(images.classes[label], colours[label]) for label in present]
    wrong = [_difference(picture, true_HW, mask_HW) for _, mask_HW in predicted]
    drawing.side_by_side(path, [("picture", np.asarray(picture)), *drawn], legend, [None, None, *wrong])


def _difference(picture: Image.Image, true_HW: np.ndarray, predicted_HW: np.ndarray) -> tuple[str, np.ndarray]:
    """The picture in faint grey, red where the prediction is wrong, white where the truth is unknown; and the share."""
    import numpy as np

    known_HW = true_HW != pictures.IGNORE
    wrong_HW = known_HW & (predicted_HW != true_HW)
    pixels_HW3 = np.repeat(160 + np.asarray(picture.convert("L"))[..., None] // 4, 3, axis=2)
    pixels_HW3[wrong_HW], pixels_HW3[~known_HW] = _WRONG, 255
    share = wrong_HW.sum() / max(1, known_HW.sum())
    return f"{100 * share:.1f} % of the pixels differ", pixels_HW3
