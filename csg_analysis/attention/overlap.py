"""Attention and object: how much of a map lies on what the picture shows, where its transparency or its mask says it.

Shape suffixes: H and W pixels.
"""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from csg_train.data.readers.masks import IGNORE
from csg_train.data.views.transforms import evaluation_view

__all__ = ["CLASS_OVERLAP", "OVERLAP", "Overlap", "class_pixels", "object_mask", "overlap"]

OVERLAP = (
    "mask: pixels of alpha >= 128 after the picture's own resizing; iou: of the mask and the pixels with at least half "
    "of the map's maximum; share: of the map's sum, the part inside the mask; area: of the picture, the part inside "
    "the mask, which is the share of a constant map; means over pictures"
)

CLASS_OVERLAP = (
    "mask: pixels of the explained class in the true mask, ignored pixels left out of everything, the map enlarged "
    "(bilinear) to it; iou: of the mask and the pixels with at least half of the map's maximum; share: of the map's "
    "sum, the part inside the mask; area: of the pixels, the part inside the mask, which is the share of a constant "
    "map; means over the pictures that truly show the explained class and something else"
)


@dataclass(frozen=True)
class Overlap:
    """Of one picture, each 0 to 1; see `OVERLAP` and `CLASS_OVERLAP`."""

    iou: float
    share: float
    area: float


def object_mask(image: Image.Image, *, size: int, fit: str) -> np.ndarray | None:
    """Where the object is, in the model's view of a picture.

    The alpha channel goes, inverted, through the very function that makes the model's input, so that it is resized,
    cropped or padded as the picture is; the padding's white is alpha 0.

    Args:
        image: As `csg_train.data.readers.images.decode` gives it.
        size: Side of the view.
        fit: ``crop`` or ``pad``.

    Returns:
        ``(H, W)`` bool, or None where there is no mask: no alpha channel, or a view without object or without
        background.
    """
    if image.mode != "RGBA":
        return None
    inverted = ImageOps.invert(image.getchannel("A"))
    view_CHW = evaluation_view(Image.merge("RGB", [inverted] * 3), size=size, fit=fit)
    mask_HW: np.ndarray = 255 - view_CHW[0].numpy() >= 128
    return mask_HW if mask_HW.any() and not mask_HW.all() else None


def class_pixels(map_HW: np.ndarray, true_HW: np.ndarray, label: int) -> tuple[np.ndarray, np.ndarray] | None:
    """The pixels of a map that count, and which of them truly are of a class.

    Args:
        map_HW: >= 0.
        true_HW: Training ids, `IGNORE` included.
        label: The class.

    Returns:
        ``(1, P)`` of the map and ``(1, P)`` bool, without ignored pixels; None where none or all of them are of the
        class.
    """
    counted_HW = true_HW != IGNORE
    own_1P = (true_HW == label)[counted_HW][None]
    return (map_HW[counted_HW][None], own_1P) if own_1P.any() and not own_1P.all() else None


def overlap(map_HW: np.ndarray, mask_HW: np.ndarray) -> Overlap:
    """Overlap of an attention map with a mask.

    Args:
        map_HW: >= 0, not zero everywhere; of any two sides.
        mask_HW: bool.
    """
    assert map_HW.min() >= 0
    assert map_HW.max() > 0
    attended_HW = map_HW >= map_HW.max() / 2
    iou = (attended_HW & mask_HW).sum() / (attended_HW | mask_HW).sum()
    weights_HW = map_HW.astype(np.float64)
    return Overlap(float(iou), float(weights_HW[mask_HW].sum() / weights_HW.sum()), float(mask_HW.mean()))
