"""Masks of pictures, one at a time: indexed PNG files in the classes' colours, and the share of each class."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from csg_train.data.check.colours import class_colours
from csg_train.data.loaders.loader import file_order, load_batches, only
from csg_train.data.loaders.workers import measuring_workers
from csg_train.data.readers.images import ImageSet, over_white
from csg_train.data.views.segmentation_views import segmentation_evaluation_view
from csg_train.errors import UserError
from csg_train.evaluate.segmentation import logits_of, predicted_mask
from csg_train.models.network import TaskNetwork
from csg_train.predictions.found import Found
from csg_train.predictions.table import Outcome
from csg_train.recipes.sections import Recipe

__all__ = ["mask_names", "predicted_classes_of_pixels"]


_Picture = tuple[Tensor, tuple[int, int]] | UserError
"""``(1, 3, h, w)`` as it is shown, and its rows and columns; or what is wrong with it."""


class _Whole(Dataset[_Picture]):
    """Pictures at their own size."""

    def __init__(self, images: ImageSet, longest_side: int | None, multiple: int) -> None:
        self.images, self.longest_side, self.multiple = images, longest_side, multiple

    def __getitem__(self, index: int) -> _Picture:
        try:
            image = over_white(self.images.read(index))
        except UserError as error:
            return UserError(error.message)
        view = segmentation_evaluation_view(image, longest_side=self.longest_side, multiple=self.multiple)
        return view[None], (image.height, image.width)


def mask_names(found: Found) -> list[str]:
    """Of every picture's mask: its own name with the ending ``.png``, below the same folders.

    Raises:
        UserError: Two pictures would have the same mask, or one's would be a folder of another's.
    """
    first: dict[str, int] = {}
    for index, name in enumerate(found.names):
        mask = str(Path(name).with_suffix(".png"))
        if (other := first.setdefault(mask, index)) != index:
            both = f"{found.images.files[other]} and {found.images.files[index]}"
            raise UserError(f"{both} would have the same mask, {mask}; predict them into two folders")
    below = {str(folder): index for mask, index in first.items() for folder in Path(mask).parents}
    for mask in first.keys() & below.keys():
        both = f"{found.images.files[first[mask]]} and {found.images.files[below[mask]]}"
        raise UserError(f"{both} would have masks at {mask} and below it; predict them into two folders")
    return list(first)


def predicted_classes_of_pixels(
    network: TaskNetwork, found: Found, recipe: Recipe, *, folder: Path, shown: str
) -> Iterator[Outcome]:
    """Write the mask of every picture, of the picture's size, in which a pixel is the index of its class.

    Args:
        network: In evaluation mode.
        found: The pictures.
        recipe: Says how they are shown.
        folder: For the masks.
        shown: How the table names that folder.

    Yields:
        For each picture its ``mask`` and ``share_CLASS`` of every class, or what is wrong with it.
    """
    assert recipe.segmentation is not None
    classes, device = found.images.classes, next(network.parameters()).device
    logits = logits_of(network, recipe)
    palette = [channel for colour in class_colours(classes) for channel in colour]
    keys = file_order(len(found.images), 1)
    workers = measuring_workers(recipe.train.workers, device, len(keys))
    whole = _Whole(found.images, recipe.segmentation.longest_side, network.backbone.spec.grid)
    loaded = load_batches(whole, keys, only, workers)
    for name, picture in zip(mask_names(found), loaded, strict=True):
        if isinstance(picture, UserError):
            yield picture
            continue
        view_13HW, size = picture
        mask_HW = predicted_mask(logits, view_13HW, size=size, device=device).cpu().numpy()
        indexed = Image.fromarray(mask_HW)
        indexed.putpalette(palette)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        indexed.save(folder / name)
        shares = np.bincount(mask_HW.reshape(-1), minlength=len(classes)) / mask_HW.size
        named = zip(classes, shares.tolist(), strict=True)
        yield {"mask": f"{shown}/{name}"} | {f"share_{one}": round(share, 6) for one, share in named}
