"""Masks over their pictures: in the classes' colours, and where a predicted one differs from the truth.

Shapes: H rows, W columns.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image

__all__ = ["WRONG", "differing_text", "differs", "mask_overlay", "reduced", "share_differing"]

WRONG = (200, 20, 40)
"""Colour of pixels that are predicted wrong."""
_STRENGTH = 0.65
"""Of a class's colour over the picture."""


def mask_overlay(
    picture_HW3: np.ndarray, mask_HW: np.ndarray, colours: Sequence[tuple[int, int, int]], *, unknown: int
) -> np.ndarray:
    """The picture under its mask's colours, ``(H, W, 3)`` uint8; pixels of an ``unknown`` class stay as they are."""
    known_HW = mask_HW != unknown
    pixels_HW3 = picture_HW3.astype(np.float64)
    pixels_HW3[known_HW] += _STRENGTH * (np.array(colours, dtype=np.float64)[mask_HW[known_HW]] - pixels_HW3[known_HW])
    return np.rint(pixels_HW3).astype(np.uint8)


def differs(picture_HW3: np.ndarray, true_HW: np.ndarray, predicted_HW: np.ndarray, *, unknown: int) -> np.ndarray:
    """The picture in faint grey, `WRONG` where the prediction is, white where the truth is ``unknown``.

    Returns:
        ``(H, W, 3)`` uint8.
    """
    known_HW = true_HW != unknown
    grey_HW = 160 + np.asarray(Image.fromarray(picture_HW3).convert("L")) // 4
    pixels_HW3 = np.repeat(grey_HW[..., None], 3, axis=2)
    pixels_HW3[known_HW & (predicted_HW != true_HW)], pixels_HW3[~known_HW] = WRONG, 255
    return pixels_HW3


def share_differing(true_HW: np.ndarray, predicted_HW: np.ndarray, *, unknown: int) -> float | None:
    """Of the pixels whose true class is known, how many are predicted wrong, 0 to 1; None where none is known."""
    known_HW = true_HW != unknown
    return float((predicted_HW != true_HW)[known_HW].mean()) if known_HW.any() else None


def differing_text(share: float | None) -> str:
    """What stands below such a picture."""
    return "no pixel has a true class" if share is None else f"{100 * share:.1f} % of the pixels differ"


def reduced(pixels: np.ndarray, side: int) -> np.ndarray:
    """A picture ``(H, W, 3)``, averaged, or a mask ``(H, W)``, by nearest pixel: its longer side at most ``side``."""
    rows, columns = pixels.shape[:2]
    scale = side / max(rows, columns)
    if scale >= 1:
        return pixels
    size = (max(1, round(scale * columns)), max(1, round(scale * rows)))
    how = Image.Resampling.BOX if pixels.ndim == 3 else Image.Resampling.NEAREST
    return np.asarray(Image.fromarray(pixels).resize(size, how))
