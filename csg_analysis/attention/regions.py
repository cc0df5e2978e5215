"""Which class of a predicted mask a GradCAM map explains, and over which pixels.

Shape suffixes: H and W pixels, C classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Region", "explained_region"]


@dataclass(frozen=True, kw_only=True)
class Region:
    """Of one picture.

    Attributes:
        predicted: The class with the largest predicted area. ``background``, where it is the first class, is it only
            if nothing else is predicted.
        explained: The class to explain.
        where_HW: bool, the pixels where its logit is the largest; their logits are summed.
        missing: Why there are none, else empty.
    """

    predicted: int
    explained: int
    where_HW: Tensor
    missing: str


def explained_region(prediction_HW: Tensor, classes: Sequence[str], explain: str) -> Region:
    """The class to explain and its predicted region; a prediction of nothing but background explains nothing.

    Args:
        prediction_HW: int64, the class with the largest logit at each pixel.
        classes: Names by class number.
        explain: ``predicted``, or one of them; of equal areas the first class is the largest.
    """
    area_C = torch.bincount(prediction_HW.flatten(), minlength=len(classes))
    first = int(classes[0] == "background")
    empty = not area_C[first:].any()
    predicted = 0 if empty else first + int(area_C[first:].argmax())
    explained = predicted if explain == "predicted" else classes.index(explain)
    where_HW, missing = prediction_HW == explained, ""
    if explain == "predicted" and empty:
        where_HW, missing = torch.zeros_like(where_HW), "nothing but background predicted"
    elif not where_HW.any():
        missing = "predicted nowhere"
    return Region(predicted=predicted, explained=explained, where_HW=where_HW, missing=missing)
