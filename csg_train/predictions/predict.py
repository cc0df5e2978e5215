"""Predict pictures with a checkpoint: a table of them, of a segmentation their masks, and what the numbers are."""

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch

from csg_train.errors import UserError
from csg_train.files import atomic_write, require_new, sha256_file, together, write_json
from csg_train.models.backbones import backbone_spec
from csg_train.predictions.classes import predicted_classes
from csg_train.predictions.found import Found
from csg_train.predictions.masks import mask_names, predicted_classes_of_pixels
from csg_train.predictions.table import Outcome, require_ending, write_rows
from csg_train.program import undivided
from csg_train.recipes.pictures import require_outside_data
from csg_train.recipes.sections import Recipe
from csg_train.runs.checkpoint import Checkpoint
from csg_train.runs.provenance import run_info

__all__ = ["Done", "predict_pictures"]

_PICTURE = {
    "class": "the largest mean of the sigmoids of the logits over the views, as csg-analyze accuracy counts it",
    "probability": "softmax of the logits, mean over the views; as the network gives it, not calibrated",
    "views": "the picture, and with evaluate.flip its mirror image",
}
_PIXELS = {
    "mask": "index of the class of the largest logit at each pixel; the picture upright, at its own size",
    "share": "pixels of the class over all pixels of the mask",
}


@dataclass(frozen=True)
class Done:
    """What a prediction left behind.

    Attributes:
        count: Pictures in the table.
        skipped: The others: path and reason.
        left_out: Files below the folders that are no pictures, in words.
        masks: Their folder; None where pictures have a class.
        definition: The file that says what the numbers are.
    """

    count: int
    skipped: list[tuple[str, str]]
    left_out: str
    masks: Path | None
    definition: Path


def predict_pictures(
    checkpoint: Checkpoint,
    found: Found,
    out: Path,
    *,
    recipe: Recipe,
    device: torch.device,
    top: int = 1,
    skip_broken: bool = False,
    report: Callable[[int], None] = lambda _done: None,
) -> Done:
    """Write the table ``out``, its definitions in ``out.json``, and of a segmentation the masks in the folder beside.

    Memory holds a batch of pictures, and the names of all. Nothing is written unless every picture was predicted or,
    where that is asked for, skipped.

    Args:
        checkpoint: Of the network.
        found: The pictures.
        out: The table, ``.csv`` or ``.jsonl``.
        recipe: The checkpoint's, perhaps changed: says how pictures are shown.
        device: Where to compute.
        top: Classes of each picture.
        skip_broken: Leave out pictures that cannot be read, and count them.
        report: Called with the number of pictures that are done.

    Raises:
        UserError: A picture cannot be read or a file not written, two masks have one name, or ``top`` is too many.
    """
    ending, masked = require_ending(out), recipe.segmentation is not None
    if out.is_dir():
        raise UserError(f"--out {out}: a folder; give the name of a file")
    if top > (allowed := 1 if masked else len(checkpoint.classes)):
        task = "a segmentation, one class a pixel" if masked else f"of {allowed} classes"
        raise UserError(f"--top {top}: the checkpoint is {task}; give {allowed} at most")
    folder = _new_folder(out, found, recipe) if masked else None
    network, skipped = checkpoint.build_network(device), list[tuple[str, str]]()

    def outcomes(masks: Path) -> Iterator[Outcome]:
        if folder is None:
            images = dataclasses.replace(found.images, shorter_side=recipe.data.shorter_side)
            return predicted_classes(network, images, recipe, top=top)
        return predicted_classes_of_pixels(network, found, recipe, folder=masks, shown=folder.name)

    def done() -> Done:
        definition = out.with_name(f"{out.name}.json")
        return Done(len(found.images) - len(skipped), skipped, found.left_out, folder, definition)

    def write(stream: BinaryIO, masks: Path) -> None:
        rows = _rows(outcomes(masks), found.images.files, skipped if skip_broken else None, report)
        write_rows(stream, ending, rows)
        stream.flush()
        definition = _definition(checkpoint, recipe, done(), Path(stream.name))
        moment.enter_context(undivided())  # all of what follows, or nothing
        write_json(done().definition, definition)

    with contextlib.ExitStack() as moment:
        _write(out, folder, write)
    return done()


def _rows(
    outcomes: Iterator[Outcome],
    files: Sequence[str],
    skipped: list[tuple[str, str]] | None,
    report: Callable[[int], None],
) -> Iterator[dict[str, Any]]:
    """A row of each picture; those that cannot be read are added to ``skipped``, where there is such a list."""
    for index, outcome in enumerate(outcomes):
        if not isinstance(outcome, UserError):
            yield {"path": files[index]} | outcome
        elif skipped is None:
            raise UserError(f"{outcome.message}, or leave it out with --skip-broken")
        else:
            skipped.append((files[index], outcome.message))
        report(index + 1)
    if skipped and len(skipped) == len(files):
        raise UserError(f"not one of {len(skipped)} pictures can be read; first: {skipped[0][1]}")


def _new_folder(out: Path, found: Found, recipe: Recipe) -> Path:
    mask_names(found)
    folder = out.with_suffix("")
    require_new(folder, "--out, for the masks go there")
    require_outside_data(folder, recipe.data, drawn=True)
    return folder


def _write(out: Path, folder: Path | None, write: Callable[[BinaryIO, Path], None]) -> None:
    """The table and, where there are any, the masks: both whole, or neither."""
    if folder is None:
        atomic_write(out, lambda stream: write(stream, Path()))
        return

    def both(stream: BinaryIO) -> None:
        with together(folder, new_for="--out") as masks:
            write(stream, masks)

    atomic_write(out, both)


def _definition(checkpoint: Checkpoint, recipe: Recipe, done: Done, table: Path) -> dict[str, Any]:
    """What the numbers of a table are, and of which network and pictures."""
    masks, data = recipe.segmentation, recipe.data
    shown = (
        {"fit": data.fit, "flip": recipe.evaluate.flip, "shorter_side": data.shorter_side, "size": data.size}
        if masks is None
        else {
            "fit": "whole",
            "longest_side": masks.longest_side,
            "multiple": backbone_spec(recipe.model.backbone).grid,
        }
    )
    return {
        "format": "csg-predictions/1",
        "run": run_info(checkpoint).model_dump(mode="json"),
        "classes": checkpoint.classes,
        "definitions": _PICTURE if masks is None else _PIXELS,
        "shown": shown,
        "count": done.count,
        "skipped": [{"path": path, "reason": reason} for path, reason in done.skipped],
        "left_out": done.left_out,
        "table_sha256": sha256_file(table),
    }
