"""Deletion and insertion: does the score follow the pixels that a map calls important?

Petsiuk et al., RISE, BMVC 2018: pixels leave (deletion) or enter (insertion) in the order of the map, the score is
followed, and the area under it is reported. Low deletion and high insertion speak for the map.

Shape suffixes: N pictures, C channels, H and W pixels, S points of a curve (steps + 1).
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.transforms.functional import gaussian_blur

__all__ = ["DELETION_BASELINE", "INSERTION_BASELINE", "REMOVAL", "Curves", "area", "blurred", "removal_curves"]

REMOVAL = (
    "softmax probability of the explained class while pixels leave (deletion) or enter (insertion), most attended "
    "first, ties in row order; area under the curve over the share of pixels by the trapezoidal rule, 0 to 1"
)
DELETION_BASELINE = "the mean colour of the backbone's normalisation"
INSERTION_BASELINE = "the picture after a Gaussian blur of standard deviation size * 5 / 224 pixels"


@dataclass(frozen=True)
class Curves:
    """The score at 0, 1/steps, ..., 1 of the pixels: ``(N, S)`` each."""

    deletion_NS: Tensor
    insertion_NS: Tensor


def blurred(images_NCHW: Tensor) -> Tensor:
    """`INSERTION_BASELINE`; the kernel reaches three standard deviations, borders are mirrored."""
    side = min(images_NCHW.shape[-2:])
    deviation = side * 5 / 224
    reach = min(max(1, round(3 * deviation)), side - 1)
    soft_NCHW: Tensor = gaussian_blur(images_NCHW, [2 * reach + 1, 2 * reach + 1], [deviation, deviation])
    return soft_NCHW


def removal_curves(
    score: Callable[[Tensor], Tensor],
    images_NCHW: Tensor,
    maps_NHW: Tensor,
    *,
    blank_NCHW: Tensor,
    blurred_NCHW: Tensor,
    steps: int,
) -> Curves:
    """Deletion and insertion curves of some pictures, one batch of scores for each point.

    Args:
        score: Of pictures ``(N, C, H, W)``: ``(N,)``.
        images_NCHW: The pictures.
        maps_NHW: Their maps; only the order of the pixels matters.
        blank_NCHW: What deletion ends at, broadcastable to the pictures.
        blurred_NCHW: What insertion starts from, likewise.
        steps: Equal parts of the pixels, >= 1.
    """
    count, pixels = len(maps_NHW), maps_NHW[0].numel()
    order = maps_NHW.reshape(count, pixels).argsort(dim=1, descending=True, stable=True)
    rank = torch.empty_like(order).scatter_(1, order, torch.arange(pixels, device=order.device).expand(count, -1))
    rank_N1HW = rank.reshape(maps_NHW.shape).unsqueeze(1)
    deleted, inserted = [], []
    with torch.no_grad():
        for step in range(steps + 1):
            moved_N1HW = rank_N1HW < round(step * pixels / steps)
            deleted.append(score(torch.where(moved_N1HW, blank_NCHW, images_NCHW)))
            inserted.append(score(torch.where(moved_N1HW, images_NCHW, blurred_NCHW)))
    return Curves(torch.stack(deleted, dim=1), torch.stack(inserted, dim=1))


def area(curve_NS: Tensor) -> Tensor:
    """Area under curves over 0 to 1, trapezoidal rule: ``(N,)``."""
    return (curve_NS[:, 1:] + curve_NS[:, :-1]).mean(dim=1) / 2
