"""Export a checkpoint: write a folder, read it again, compare it on pictures, and only then give it its name."""

import copy
import dataclasses
import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

import torch
from torch import Tensor

from csg_train.data.readers.images import over_white
from csg_train.data.readers.sets import AnySet, unlabelled
from csg_train.data.views.segmentation_views import segmentation_evaluation_view
from csg_train.data.views.transforms import evaluation_view
from csg_train.errors import UserError
from csg_train.exports.card import model_card
from csg_train.exports.compare import Comparison, compare
from csg_train.exports.subject import Logits, Subject
from csg_train.files import require_new, together, write_json, write_text
from csg_train.names import require_plain
from csg_train.recipes.pictures import load_split, require_outside_data
from csg_train.recipes.sections import Recipe
from csg_train.runs.checkpoint import Checkpoint
from csg_train.splits import SPLITS

__all__ = ["Exported", "export_checkpoint"]

_PICTURES, _WHOLE_PICTURES = 64, 8


class _Format(Protocol):
    """What a module ``to_NAME`` has."""

    def write(self, subject: Subject, folder: Path, pictures: list[Tensor]) -> dict[str, Any]:
        """Write the files, and return changes to ``config.json``; ``pictures`` are those to compare on."""

    def load(self, subject: Subject, folder: Path) -> Callable[[Tensor], Tensor]:
        """Read them as a user would: from pictures in [0, 1] to logits."""

    def usage(self, subject: Subject) -> list[str]:
        """The lines of Python with which a user does."""


@dataclass(frozen=True)
class Exported:
    """What was written: bytes of each file by its name, and how far it is from the checkpoint."""

    files: dict[str, int]
    comparison: Comparison
    size: list[int] | None
    """Rows and columns of the only pictures that a graph for masks takes; None for any."""


def export_checkpoint(
    checkpoint: Checkpoint,
    folder: Path,
    format_name: str,
    *,
    recipe: Recipe,
    images: str = "target",
) -> Exported:
    """Write ``folder`` with a trained network for another place, whole and compared, or not at all.

    Args:
        checkpoint: What to export.
        folder: New, or empty.
        format_name: One of `FORMATS`.
        recipe: The checkpoint's, perhaps changed: says how pictures are shown.
        images: A split of the recipe, a file or a folder: what the export is compared on.

    Raises:
        UserError: The folder is not empty, the format has no such network, pictures are missing, or the export gives
            other logits than the checkpoint.
    """
    require_new(folder, "--to")
    require_plain([str(folder)], "--to")  # which the libraries that read it again insist on
    require_outside_data(folder, recipe.data)
    subject = Subject(checkpoint, recipe, checkpoint.build_network(torch.device("cpu")))
    source, pictures = _pictures(subject, images)
    kind = cast(_Format, importlib.import_module(f"csg_train.exports.to_{format_name.replace('-', '_')}"))
    with together(folder, new_for="--to") as work:
        changes = kind.write(subject, work, pictures)
        write_json(work / "config.json", subject.described | changes)
        size = changes.get("input_HW")
        shown = _of_size(pictures, size)
        try:
            served = Logits(subject.network)
            comparison = compare(
                served,
                kind.load(subject, work),
                lambda images: copy.deepcopy(served).double()(images),
                shown,
                source=source,
                what=f"--format {format_name}",
            )
        except UserError:
            raise
        except Exception as error:  # of many types: a library builds another network than was trained
            reason = str(error).strip().split("\n", 1)[0]
            raise UserError(
                f"--format {format_name}: what was written does not run ({reason}); use safetensors or onnx"
            ) from error
        write_text(work / "README.md", model_card(subject, comparison, work, kind.usage(subject), format_name, size))
    files = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    return Exported(files, comparison, size if subject.masked and size != [None, None] else None)


def _of_size(pictures: list[Tensor], size: Sequence[int | None] | None) -> list[Tensor]:
    """Those that a graph of fixed rows and columns takes; the first is one of them."""
    if size is None or size[0] is None:
        return pictures
    return [picture for picture in pictures if list(picture.shape[1:]) == list(size)]


def _pictures(subject: Subject, where: str) -> tuple[str, list[Tensor]]:
    """Their name and, evenly spaced over the set, some pictures as they are measured."""
    images, recipe = _set(subject, where), subject.recipe
    most = _WHOLE_PICTURES if subject.masked else _PICTURES
    number = min(most, len(images))
    shown = []
    for place in range(number):
        picture = over_white(images.picture(place * len(images) // number))
        if recipe.segmentation is not None:
            longest, multiple = recipe.segmentation.longest_side, subject.network.backbone.spec.grid
            shown.append(segmentation_evaluation_view(picture, longest_side=longest, multiple=multiple))
        else:
            shown.append(evaluation_view(picture, size=recipe.data.size, fit=recipe.data.fit))
    return images.name, shown


def _set(subject: Subject, where: str) -> AnySet:
    recipe, classes = subject.recipe, subject.classes
    if where not in SPLITS:
        images = unlabelled(Path(where), classes)
        return images if subject.masked else dataclasses.replace(images, shorter_side=recipe.data.shorter_side)
    try:
        return load_split(recipe.data, where, classes)
    except UserError as error:
        raise UserError(f"{error.message}; or compare on other pictures: --images FOLDER") from error
